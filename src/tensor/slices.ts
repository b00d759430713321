/** How the elements of one axis lie in memory: element (o, c, i) is at (o · channels + c) · inner + i. */
export interface AxisLayout {
  readonly outer: number;
  readonly channels: number;
  readonly inner: number;
}

/** The layout of `axis` (negative counts from the end) in a row-major tensor. */
export function axisLayout(dims: readonly number[], axis: number): AxisLayout {
  const at = axis < 0 ? axis + dims.length : axis;
  const product = (part: readonly number[]) => part.reduce((a, b) => a * b, 1);
  return { outer: product(dims.slice(0, at)), channels: dims[at] ?? 1, inner: product(dims.slice(at + 1)) };
}
