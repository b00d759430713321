import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { openData } from '../data/open-data.js';
import { openStaged, readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask } from '../runtime/task.js';

/** Two models that should compute the same. Plain data. */
export interface IdenticalArguments {
  readonly a: StagedModel;
  readonly b: StagedModel;
  readonly data: DataSpec;
}

/**
 * Runs two models on the first sample, without the runtime's optimizations, and returns the names of the outputs whose types, shapes or
 * bits differ.
 */
export const identicalOutputsTask = defineTask(import.meta.url, 'identicalOutputsTask', async (args: IdenticalArguments): Promise<string[]> => {
  const { graph } = await readStaged(args.a);
  const a = await openStaged(args.a, { optimization: 'disabled' });
  const b = await openStaged(args.b, { optimization: 'disabled' });
  const different: string[] = [];
  for await (const sample of await openData(args.data, modelInputs(graph))) {
    const received = await b.run(sample.inputs);
    for (const [name, expected] of await a.run(sample.inputs)) {
      const other = received.get(name);
      const same =
        other?.dtype === expected.dtype &&
        other.dims.join() === expected.dims.join() &&
        Buffer.compare(expected.storage.read(), other.storage.read()) === 0 &&
        expected.strings?.join('\n') === other.strings?.join('\n');
      if (!same) different.push(name);
    }
    break;
  }
  await a.release();
  await b.release();
  return different;
});
