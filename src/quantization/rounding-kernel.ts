/** Elements that the kernel takes at a time; they, their scales and their integers fit a core's own cache. */
export const CHUNK_LENGTH = 32_768;

/** The binary of rounding-kernel.wat; a test compares both and tells the new text after a change. */
export const KERNEL_BASE64 =
  'AGFzbQEAAAABEwJgBH9/f38AYAh/f39/f319fwADAwIAAQUDAQAFBxsDBm1lbW9yeQIABm1heGltYQAABXJvdW5kAAEK3gICigEBAX8gACADQQJ0aiEEA0AgACAESQRAIAEgAf0ABAAgAP0ABAD9' +
  '4AH96QH9CwQAIAEgAf0ABBAgAP0ABBD94AH96QH9CwQQIAEgAf0ABCAgAP0ABCD94AH96QH9CwQgIAEgAf0ABDAgAP0ABDD94AH96QH9CwQwIABBwABqIQAgASACaiEBDAELCwvPAQIBfwN7IAAg' +
  'BEECdGohCCAF/RMhCSAG/RMhCiAH/Q8hCwNAIAAgCEkEQCADIAsgCiAJIAD9AAQAIAH9AAQA/ecB/Wr96QH96AH9+AEgCiAJIAD9AAQQIAH9AAQQ/ecB/Wr96QH96AH9+AH9hQEgCiAJIAD9AAQg' +
  'IAH9AAQg/ecB/Wr96QH96AH9+AEgCiAJIAD9AAQwIAH9AAQw/ecB/Wr96QH96AH9+AH9hQH9Zf1R/QsEACAAQcAAaiEAIAEgAmohASADQRBqIQMMAQsLCw==';

/** The loops over weights in WebAssembly, over memory of their own. Each call reads and writes the first elements of the arrays. */
export interface RoundingKernel {
  readonly values: Float32Array;
  /** Scales, or largest magnitudes so far: one for each value, or the first `LANES` of them for all. */
  readonly pattern: Float32Array;
  /** What `round` gives, two's complement or, with `unsigned`, 128 more. */
  readonly integers: Uint8Array;
  /** Raises the pattern to the magnitudes of values. A NaN stays. */
  maxima(count: number, pattern: PatternPart): void;
  /** round(value / scale), ties to even, the division in float32, clamped to ±limit. */
  round(count: number, pattern: PatternPart, limit: number, unsigned: boolean): void;
}

/** Where the pattern begins for the first value; `each` where every value has its own element, `one` where the lanes serve all. */
export interface PatternPart {
  readonly from: number;
  readonly per: 'each' | 'one';
}

/** Values that are worked on at once; counts are rounded up to a multiple, so arrays have as many spare elements. */
export const LANES = 16;

const FLOAT_BYTES = 4;
const SPARE = CHUNK_LENGTH + LANES;
const PATTERN = SPARE * FLOAT_BYTES;
const INTEGERS = 2 * PATTERN;

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly maxima: (value: number, largest: number, step: number, count: number) => void;
  readonly round: (value: number, scale: number, step: number, target: number, count: number, low: number, high: number, flip: number) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: RoundingKernel | undefined;

/** This thread's kernel, made at the first call. */
export function roundingKernel(): RoundingKernel {
  return (kernel ??= create());
}

function create(): RoundingKernel {
  const module = new WebAssembly.Module(Buffer.from(KERNEL_BASE64, 'base64'));
  const { memory, maxima, round } = new WebAssembly.Instance(module).exports as Exports;
  const values = new Float32Array(memory.buffer, 0, SPARE);
  const place = ({ from, per }: PatternPart) => [PATTERN + from * FLOAT_BYTES, per === 'each' ? LANES * FLOAT_BYTES : 0] as const;
  return {
    values,
    pattern: new Float32Array(memory.buffer, PATTERN, SPARE),
    integers: new Uint8Array(memory.buffer, INTEGERS, SPARE),
    maxima: (count, pattern) => {
      // What is left of earlier values must not count.
      values.fill(0, count, count + LANES);
      maxima(0, ...place(pattern), count);
    },
    round: (count, pattern, limit, unsigned) => round(0, ...place(pattern), INTEGERS, count, -limit, limit, unsigned ? 0x80 : 0),
  };
}
