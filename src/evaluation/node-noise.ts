import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { RelativeNoise } from './relative-noise.js';
import { openStaged, readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';

/** What to switch on and measure. Plain data. */
export interface NodeNoiseArguments {
  /** The float model, whose inputs the samples fit. */
  readonly model: StagedModel;
  /** The same with a bool scalar input for each switch. */
  readonly switchable: StagedModel;
  readonly switches: readonly string[];
  /** Switches that are turned on together, one run each. */
  readonly groups: readonly (readonly string[])[];
  readonly data: DataSpec;
  readonly only: readonly string[];
  readonly threads: number;
}

/**
 * The noise that each group of switches alone puts on the outputs, as power relative to the signal, Σ (y − y₀)² / Σ y₀², at the output where it
 * is largest. Outputs that are no floats, or zero, do not count. What was not measured before an early end has none.
 */
export const nodeNoiseTask = defineTask(import.meta.url, 'nodeNoiseTask', async (args: NodeNoiseArguments, context: TaskContext): Promise<number[]> => {
  const { graph } = await readStaged(args.model);
  const data = await openData(args.data, modelInputs(graph));
  const only = new Set(args.only);
  const session = await openStaged(args.switchable, { threads: args.threads, simulateQdq: true });
  const noises = args.groups.map(() => new RelativeNoise());
  const [off, on] = [0, 1].map((value) => tensorFromArray('bool', [], Uint8Array.of(value))) as [Tensor, Tensor];
  let done = 0;
  for await (const sample of data.filter((name) => only.has(name))) {
    if (context.endsEarly()) break;
    const feeds = new Map([...sample.inputs, ...args.switches.map((name) => [name, off] as const)]);
    const reference = await session.run(feeds);
    for (const [i, group] of args.groups.entries()) {
      if (context.endsEarly()) break;
      const outputs = await session.run(new Map([...feeds, ...group.map((name) => [name, on] as const)]));
      noises[i]!.add(reference, outputs);
      context.progress({ stage: 'measuring the noise of nodes', done: ++done, total: only.size * args.groups.length, unit: 'runs' });
    }
  }
  await session.release();
  return noises.map((noise) => noise.power());
});
