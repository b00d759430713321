import type { Bins } from './tensor-record.js';

/**
 * Bins as text: base64 of pairs of variable-length integers (seven bits a byte, low ones first, the high bit set where more follow):
 * how many bins were skipped since the one before, and the count.
 */
export function encodeBins({ index, count }: Bins): string {
  const bytes: number[] = [];
  let next = 0;
  index.forEach((bin, i) => {
    writeInteger(bytes, bin - next);
    writeInteger(bytes, count[i]!);
    next = bin + 1;
  });
  return Buffer.from(bytes).toString('base64');
}

/** The bins that `encodeBins` wrote; undefined where the text is not of that form or names bins beyond `binCount`. */
export function decodeBins(text: string, binCount: number): Bins | undefined {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text) return undefined;
  const index: number[] = [];
  const count: number[] = [];
  let at = 0;
  const readInteger = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) return NaN;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  for (let next = 0; at < bytes.length; ) {
    const bin = next + readInteger();
    const elements = readInteger();
    if (!(bin < binCount && elements > 0 && Number.isSafeInteger(elements))) return undefined;
    index.push(bin);
    count.push(elements);
    next = bin + 1;
  }
  return { index: Uint32Array.from(index), count: Float64Array.from(count) };
}

function writeInteger(bytes: number[], value: number): void {
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
}
