import { defineTask } from '../runtime/task.js';
import { addUp, reduceValues, type ReductionArguments } from './value-reduction.js';

/** A value whose channels are averaged: all axes but `axis` of `rank` are reduced. */
export interface ChannelValue {
  readonly name: string;
  readonly rank: number;
  readonly axis: number;
}

/** Mean of each channel of values over samples (each sample counts the same), by value name. */
export const channelMeansTask = defineTask(import.meta.url, 'channelMeansTask', async (args: ReductionArguments<ChannelValue>): Promise<Map<string, Float64Array>> => {
  const otherAxes = ({ rank, axis }: ChannelValue) => Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis);
  const { reduced, samples } = await reduceValues(args, (model, value) => model.reduce('ReduceMean', value.name, otherAxes(value)), addUp);
  for (const sum of reduced.values()) for (let c = 0; c < sum.length; c++) sum[c]! /= samples;
  return reduced;
});
