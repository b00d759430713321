/** Nearest integer, ties to even, as IEEE 754 and QuantizeLinear round. Exact for |x| < 2^51. */
export function roundHalfEven(x: number): number {
  const shift = 6755399441055744; // 1.5 · 2^52
  return x + shift - shift;
}
