/** A range of values that quantization maps to its levels; always holds 0, as ONNX's zero point requires. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The range made equal on both sides of zero. */
export function symmetricRange({ min, max }: Range): Range {
  const limit = Math.max(-min, max, 0);
  return { min: limit === 0 ? 0 : -limit, max: limit };
}
