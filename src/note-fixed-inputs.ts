import type { DataSpec } from './data/data-spec.js';
import { modelInputs, type ModelInput } from './data/model-inputs.js';
import { openData } from './data/open-data.js';
import { randomCount } from './data/random-samples.js';
import type { Model } from './graph/model.js';
import { decidingInputs } from './passes/deciding-inputs.js';
import type { Warning } from './progress.js';
import type { RuntimeHost } from './runtime/host.js';
import { defineTask } from './runtime/task.js';
import { elementTexts } from './tensor/parse-tensor.js';

/** Finds the inputs, among those named, that all samples feed the same single value, as text. */
export const fixedInputsTask = defineTask(
  import.meta.url,
  'fixedInputsTask',
  async ({ inputs, data, names }: { inputs: readonly ModelInput[]; data: DataSpec; names: readonly string[] }): Promise<ReadonlyMap<string, string>> => {
    const fixed = new Map<string, string>();
    const varying = new Set<string>();
    for await (const sample of await openData(data, inputs)) {
      for (const name of names) {
        const values = elementTexts(sample.inputs.get(name)!);
        const [text = ''] = values;
        if (values.length !== 1 || (fixed.get(name) ?? text) !== text) varying.add(name);
        fixed.set(name, text);
      }
      if (varying.size === names.length) break;
    }
    for (const name of varying) fixed.delete(name);
    return fixed;
  },
);

/** Warns of inputs that all samples feed the same value and that decide branches: what stands there is out of reach until such an input is frozen. */
export async function noteFixedInputs(host: RuntimeHost, model: Model, data: DataSpec, warn: (warning: Warning) => void): Promise<void> {
  const decided = decidingInputs(model);
  if (decided.size === 0 || data.paths.some((path) => randomCount(path) !== undefined)) return;
  // Data that cannot be read are refused where they are needed.
  const fixed = await host.run(fixedInputsTask, { inputs: modelInputs(model.graph), data, names: [...decided.keys()] }).catch(() => new Map<string, string>());
  for (const [name, value] of fixed) {
    const branches = decided.get(name)!.length;
    warn({
      code: 'fixed-input',
      message: `all samples feed input "${name}" the value ${value}, which decides ${branches === 1 ? 'an If' : `${branches} If nodes`}: what no sample runs is stored all the same`,
      advice: `Where the model will see no other value, say --freeze ${name}=${value}: other branches are left out, and the one that is taken stands in the graph.`,
    });
  }
}
