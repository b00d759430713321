import { axisLayout } from './slices.js';
import { tensorFromArray, type Tensor } from './tensor.js';
import { numbersOf } from './values.js';

/** A float32 tensor with scale · x + shift for each element x, by its place on `axis` (negative counts from the end); a list of one holds for all places. */
export function affineAlong(tensor: Tensor, axis: number, scale: ArrayLike<number>, shift?: ArrayLike<number>): Tensor {
  const { channels, inner } = axisLayout(tensor.dims, axis);
  const values = numbersOf(tensor);
  const results = new Float32Array(values.length);
  for (let start = 0, channel = 0; start < values.length; start += inner, channel = (channel + 1) % channels) {
    const factor = scale[scale.length === 1 ? 0 : channel]!;
    for (let i = start; i < start + inner; i++) results[i] = values[i]! * factor;
    // Adding a zero would turn −0 into 0.
    if (shift) for (let i = start; i < start + inner; i++) results[i] = values[i]! * factor + shift[shift.length === 1 ? 0 : channel]!;
  }
  return tensorFromArray('float32', tensor.dims, results);
}
