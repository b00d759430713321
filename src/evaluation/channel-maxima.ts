import { defineTask } from '../runtime/task.js';
import { reduceValues, type ReductionArguments } from './value-reduction.js';

/** A value whose last axis, of `channels` elements, is looked at. */
export interface LastAxisValue {
  readonly name: string;
  readonly channels: number;
}

/** Largest magnitude of each channel on the last axis of values over samples, by value name. */
export const channelMaximaTask = defineTask(import.meta.url, 'channelMaximaTask', async (args: ReductionArguments<LastAxisValue>): Promise<Map<string, Float64Array>> => {
  const { reduced } = await reduceValues(
    args,
    (model, { name, channels }) => model.reduce('ReduceMax', model.node('Abs', [model.rows(name, channels)]), [0]),
    (most, more) => {
      for (let c = 0; c < most.length; c++) most[c] = Math.max(most[c]!, more[c]!);
    },
  );
  return reduced;
});
