const scratch = new DataView(new ArrayBuffer(8));

/** The IEEE 754 binary16 bits of a number, rounded to nearest even. */
export function numberToFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  scratch.setFloat64(0, value);
  const sign = (scratch.getUint8(0) & 0x80) << 8;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, ((scratch.getUint16(0) >>> 4) & 0x7ff) - 1023);
  const steps = roundToEven(size * 2 ** (10 - exponent));
  // Added, not joined, so that a mantissa that rounds up carries into the exponent.
  return sign | (steps + (exponent + 14) * 1024);
}

function roundToEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}
