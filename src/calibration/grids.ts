import { gridSize, type GridStep, type JoinedBlock } from './sampled-tap.js';
import type { ReducedElements } from './tensor-observer.js';

/** What was handed out of one value in one sample, as views of outputs. */
export interface ReducedValue {
  /** Dimensions of the whole value. */
  readonly dims: readonly number[];
  readonly elements: Readonly<Record<keyof ReducedElements, Float32Array[]>>;
}

/** Adds the parts in a joined output to the values that they belong to, by name. */
export function splitJoined(blocks: readonly JoinedBlock[], joined: Float32Array, values: Map<string, ReducedValue>): void {
  let at = 0;
  for (const { images, places, parts } of blocks) {
    for (let image = 0; image < images; image++) {
      for (const { value, kind, dims } of parts) {
        const reduced = values.get(value) ?? { dims, elements: { grid: [], maxima: [], negatedMinima: [] } };
        values.set(value, reduced);
        reduced.elements[kind].push(joined.subarray(at, (at += dims[1]! * places)));
      }
    }
  }
}

/** The grid of a whole tensor of rank 4, as the sampled tap would hand it out. */
export function takeGrid(values: Float32Array, dims: readonly number[], step: GridStep): Float32Array {
  const [images = 0, channels = 0, height = 0, width = 0] = dims;
  const [rows, columns] = gridSize(dims, step);
  const grid = new Float32Array(images * channels * rows * columns);
  let at = 0;
  for (let plane = 0; plane < images * channels; plane++) {
    for (let row = 0; row < height; row += step[0]) {
      const start = (plane * height + row) * width;
      for (let column = 0; column < width; column += step[1]) grid[at++] = values[start + column]!;
    }
  }
  return grid;
}
