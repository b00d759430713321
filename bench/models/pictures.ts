import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { uniform } from './network.js';

/** A picture of three channels with structure at every scale, as photographs have: noise of halving size, bilinearly enlarged. */
export function picture(size: number, seed: number): Tensor {
  const random = uniform(seed);
  const values = new Float32Array(3 * size * size);
  for (let cells = 2, weight = 1; cells <= size; cells *= 2, weight *= 0.6) {
    const edge = cells + 1;
    const noise = Float32Array.from({ length: 3 * edge * edge }, () => weight * 2 * (random() - 0.5) * 1.6);
    for (let channel = 0; channel < 3; channel++) {
      for (let row = 0; row < size; row++) {
        const y = (row * cells) / size;
        const top = (channel * edge + Math.floor(y)) * edge;
        for (let column = 0; column < size; column++) {
          const x = (column * cells) / size;
          const at = top + Math.floor(x);
          const [fy, fx] = [y % 1, x % 1];
          const upper = noise[at]! * (1 - fx) + noise[at + 1]! * fx;
          const lower = noise[at + edge]! * (1 - fx) + noise[at + edge + 1]! * fx;
          values[(channel * size + row) * size + column]! += upper * (1 - fy) + lower * fy;
        }
      }
    }
  }
  return tensorFromArray('float32', [1, 3, size, size], values);
}
