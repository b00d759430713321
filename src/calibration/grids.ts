import { gridSize, type GridStep, type JoinedPart } from './sampled-tap.js';
import type { SampledElements } from './tensor-observer.js';

/** One value's part of a joined output. */
export interface ReducedValue {
  /** Dimensions of the whole value. */
  readonly dims: readonly number[];
  readonly elements: SampledElements;
}

/** The values in a joined output, by name, as views. */
export function splitJoined(
  parts: readonly JoinedPart[],
  joined: Float32Array,
  steps: ReadonlyMap<string, GridStep>,
): Map<string, ReducedValue> {
  const values = new Map<string, { dims: readonly number[]; elements: Record<keyof SampledElements, Float32Array[]> }>();
  const channels = parts.reduce((sum, { dims }) => sum + dims[1]!, 0);
  let channel = 0;
  for (const { value, kind, dims } of parts) {
    const [height, width] = gridSize(dims, steps.get(value)!);
    const size = height * width;
    const reduced = values.get(value) ?? { dims, elements: { grid: [], maxima: [], negatedMinima: [] } };
    values.set(value, reduced);
    for (let image = 0; image < dims[0]!; image++) {
      const start = (image * channels + channel) * size;
      reduced.elements[kind].push(joined.subarray(start, start + dims[1]! * size));
    }
    channel += dims[1]!;
  }
  return values;
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
