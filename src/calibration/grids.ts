/** Steps along height and width between the elements of a grid. */
export type GridStep = readonly [height: number, width: number];

/** Elements along each edge of a grid, at least, where the tensor has as many. */
const GRID_EDGE = 4;
/** Elements of a grid for each image, at least, where the tensor has as many. */
const GRID_ELEMENTS = 8_192;

/** The steps of the grid of a tensor; undefined where the tensor is too small for one or of another rank. */
export function gridStep(dims: readonly number[]): GridStep | undefined {
  const [, channels = 0, height = 0, width = 0] = dims;
  if (dims.length !== 4) return undefined;
  const widest = Math.sqrt((channels * height * width) / GRID_ELEMENTS);
  const stepOf = (edge: number) => Math.max(1, Math.floor(Math.min(widest, (edge - 1) / (GRID_EDGE - 1))));
  const step: GridStep = [stepOf(height), stepOf(width)];
  return step[0] * step[1] > 1 ? step : undefined;
}

/** Height and width of the grid. */
export function gridSize(dims: readonly number[], [height, width]: GridStep): [height: number, width: number] {
  return [Math.ceil(dims[2]! / height), Math.ceil(dims[3]! / width)];
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
