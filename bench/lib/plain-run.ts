import type { DataSpec } from '../../src/data/data-spec.js';
import { modelInputs } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { readModel } from '../../src/onnx/read-model.js';
import { Session } from '../../src/runtime/session.js';
import { defineTask } from '../../src/runtime/task.js';

/** Runs a model on data, in one session with the runtime's default threads. Returns the time in the runtime and the peak memory. */
export const plainRunTask = defineTask(import.meta.url, 'plainRunTask', async (args: { modelPath: string; data: DataSpec }) => {
  const inputs = modelInputs((await readModel(args.modelPath)).graph);
  const session = await Session.open(args.modelPath);
  let inferenceMs = 0;
  for await (const sample of await openData(args.data, inputs)) inferenceMs += await session.runAndVisit(sample.inputs, () => undefined);
  await session.release();
  return { inferenceMs, peakRssBytes: process.resourceUsage().maxRSS * 1024 };
});
