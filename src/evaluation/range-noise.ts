import { openData } from '../data/open-data.js';
import type { DataSpec } from '../data/data-spec.js';
import { modelInputs } from '../data/model-inputs.js';
import { RelativeNoise } from './relative-noise.js';
import { openStaged, readStaged, type StagedModel } from '../runtime/staged-model.js';
import { defineTask, type TaskContext } from '../runtime/task.js';
import { integerScalar, type AffineParameters } from '../tensor/affine.js';
import { float32Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';

/** A group of values with the parameters to try, the ones in use first. */
export interface ProbedRanges {
  readonly condition: string;
  readonly scale: string;
  readonly zeroPoint: string;
  readonly candidates: readonly AffineParameters[];
}

/** What to probe. Plain data. */
export interface RangeNoiseArguments {
  /** The float model, whose inputs the samples fit. */
  readonly model: StagedModel;
  readonly probe: StagedModel;
  readonly groups: readonly ProbedRanges[];
  readonly data: DataSpec;
  readonly only: readonly string[];
  readonly threads: number;
  /** Half of it is for the groups under the candidates in use, the rest for other candidates. */
  readonly budgetMs: number;
}

/**
 * The noise that each group alone puts on the outputs under each of its candidates, as power relative to the signal, Σ (y − y₀)² / Σ y₀², at
 * the output where it is largest. Groups are looked at in order of their noise under the first candidate; NaN where time was up. Where there is no
 * time for a run of each group, the loudest ones are found by halving: of a set of groups that are on together, the louder half is looked at first.
 */
export const rangeNoiseTask = defineTask(import.meta.url, 'rangeNoiseTask', async (args: RangeNoiseArguments, context: TaskContext): Promise<number[][]> => {
  const start = performance.now();
  const { graph } = await readStaged(args.model);
  const only = new Set(args.only);
  const samples: ReadonlyMap<string, Tensor>[] = [];
  for await (const { inputs } of (await openData(args.data, modelInputs(graph))).filter((name) => only.has(name))) samples.push(inputs);
  const session = await openStaged(args.probe, { threads: args.threads, simulateQdq: true });
  const [off, on] = [0, 1].map((value) => tensorFromArray('bool', [], Uint8Array.of(value))) as [Tensor, Tensor];
  const feedsOf = ({ condition, scale, zeroPoint }: ProbedRanges, parameters: AffineParameters, isOn: boolean): [string, Tensor][] => [
    [condition, isOn ? on : off],
    [scale, float32Tensor(parameters.scale)],
    [zeroPoint, integerScalar(parameters.dtype, parameters.zeroPoint)],
  ];
  const idle = args.groups.flatMap((group) => feedsOf(group, group.candidates[0]!, false));
  const feeds = samples.map((inputs) => new Map([...inputs, ...idle]));
  const references: ReadonlyMap<string, Tensor>[] = [];
  const begun = performance.now();
  for (const feed of feeds) references.push(await session.run(feed));
  const noiseOf = async (feedsOn: readonly [string, Tensor][]): Promise<number> => {
    const noise = new RelativeNoise();
    for (const [i, feed] of feeds.entries()) noise.add(references[i]!, await session.run(new Map([...feed, ...feedsOn])));
    return noise.power();
  };
  const total = args.groups.reduce((sum, { candidates }) => sum + candidates.length, 0);
  let done = 0;
  const count = () => context.progress({ stage: 'trying ranges tensor by tensor', done: ++done, total, unit: 'runs' });
  const isOver = (share: number) => performance.now() - start > share * args.budgetMs || context.endsEarly();
  const noises = args.groups.map(({ candidates }) => candidates.map(() => NaN));
  const together = (groups: readonly number[]) => noiseOf(groups.flatMap((i) => feedsOf(args.groups[i]!, args.groups[i]!.candidates[0]!, true)));
  const referenceMs = performance.now() - begun;
  const all = [...args.groups.keys()];
  // Each group on its own where there is time for that, otherwise all of them at first.
  const sets = (referenceMs * all.length < args.budgetMs / 2 ? all.map((i) => [i]) : [all]).map((groups) => ({ groups, noise: Infinity }));
  while (sets.length > 0 && !isOver(1 / 2)) {
    const at = sets.reduce((a, { noise }, i) => (noise > sets[a]!.noise ? i : a), 0);
    const [{ groups, noise }] = sets.splice(at, 1) as [(typeof sets)[number]];
    if (groups.length === 1) {
      noises[groups[0]!]![0] = noise === Infinity ? await together(groups) : noise;
      count();
      continue;
    }
    const middle = groups.length >> 1;
    for (const half of [groups.slice(0, middle), groups.slice(middle)]) sets.push({ groups: half, noise: await together(half) });
  }
  const known = all.filter((i) => !Number.isNaN(noises[i]![0]));
  for (const i of known.sort((a, b) => noises[b]![0]! - noises[a]![0]!)) {
    const group = args.groups[i]!;
    for (let c = 1; c < group.candidates.length; c++) {
      if (isOver(1)) break;
      noises[i]![c] = await noiseOf(feedsOf(group, group.candidates[c]!, true));
      count();
    }
  }
  await session.release();
  return noises;
});
