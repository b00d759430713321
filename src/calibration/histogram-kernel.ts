/** Values that the kernel takes at a time. */
export const CHUNK_LENGTH = 32_768;

/** The binary of histogram-kernel.wat; a test compares both and tells the new text after a change. */
export const KERNEL_BASE64 =
  'AGFzbQEAAAABCgJgAX8AYAJ/fwADBAMAAAEFAwEAFwcnBAZtZW1vcnkCAAhleHRyZW1lcwAABWNvdW50AAEHY29tcGFjdAACCq0GA60BAgJ/BXtBAP0ABA' +
  'AhBEEQ/QAEACEFQSD9AAQAIQZBMP0ABAAhByAAQQJ0IQICQANAIAEgAk8NASAB/QAEQCEDIAQgA/3qASEEIAUgA/3rASEFIANBAf2rASEDIAYgA/25ASEG' +
  'IAcgA/0MAQAAAAEAAAABAAAAAQAAAP2xAf23ASEHIAFBEGohAQwACwtBACAE/QsEAEEQIAX9CwQAQSAgBv0LBABBMCAH/QsEAAuqAgIDfwZ7QQD9AAQAIQ' +
  'ZBEP0ABAAhB0Eg/QAEACEIQTD9AAQAIQkgAEECdCECAkADQCABIAJPDQEgAf0ABEAhBCAGIAT96gEhBiAHIAT96wEhByAEQQz9rQH9DPD/DwDw/w8A8P8P' +
  'APD/DwD9TiEFIARBAf2rASEEIAggBP25ASEIIAkgBP0MAQAAAAEAAAABAAAAAQAAAP2xAf23ASEJIAX9GwAhAyADIAMoAsCAGEEBajYCwIAYIAX9GwEhAy' +
  'ADIAMoAsSAGEEBajYCxIAYIAX9GwIhAyADIAMoAsiAGEEBajYCyIAYIAX9GwMhAyADIAMoAsyAGEEBajYCzIAYIAFBEGohAQwACwtBACAG/QsEAEEQIAf9' +
  'CwQAQSAgCP0LBABBMCAJ/QsEAAvPAgIBfwR7AkADQCAAIAFPDQEgAEEEdCECIAL9AATAgBghAyAC/QAE0IAYIQQgAv0ABOCAGCEFIAL9AATwgBghBiAC/Q' +
  'wAAAAAAAAAAAAAAAAAAAAA/QsEwIAYIAL9DAAAAAAAAAAAAAAAAAAAAAD9CwTQgBggAv0MAAAAAAAAAAAAAAAAAAAAAP0LBOCAGCAC/QwAAAAAAAAAAAAA' +
  'AAAAAAAA/QsE8IAYIAMgBP0NAAECAxAREhMEBQYHFBUWFyADIAT9DQgJCgsYGRobDA0ODxwdHh/9rgEhAyAFIAb9DQABAgMQERITBAUGBxQVFhcgBSAG/Q' +
  '0ICQoLGBkaGwwNDg8cHR4f/a4BIQUgAEECdCADIAX9DQABAgMEBQYHEBESExQVFhcgAyAF/Q0ICQoLDA0ODxgZGhscHR4f/a4B/QsEwIAIIABBBGohAAwA' +
  'CwsL';

/** The counting loop in WebAssembly, over memory of its own. */
export interface HistogramKernel {
  /** Where the values go that the next call reads. Lengths that are not a multiple of four must be filled up. */
  readonly chunk: Float32Array;
  /** Counts the first values of the chunk in their bins. Returns their extremes. */
  count(length: number): ChunkExtremes;
  /** Returns the extremes of the first values of the chunk. */
  extremes(length: number): ChunkExtremes;
  /** Takes out the counts of the bins `from` to `to` (multiples of four), which are zero after that. The next call reuses the array. */
  take(from: number, to: number): Uint32Array;
}

/** What the kernel tells of a chunk, NaN left out. */
export interface ChunkExtremes {
  readonly min: number;
  readonly max: number;
  /** Whether any element is NaN or infinite. */
  readonly nonFinite: boolean;
  /** Biased float32 exponent of the element nearest to zero but not zero; 255 where there is none. */
  readonly leastExponent: number;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly count: (length: number) => void;
  readonly extremes: (length: number) => void;
  readonly compact: (from: number, to: number) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: HistogramKernel | undefined;

/** This thread's kernel, made at the first call. */
export function histogramKernel(): HistogramKernel {
  return (kernel ??= create());
}

function create(): HistogramKernel {
  const module = new WebAssembly.Module(Buffer.from(KERNEL_BASE64, 'base64'));
  const { memory, count, extremes, compact } = new WebAssembly.Instance(module).exports as Exports;
  const floats = new Float32Array(memory.buffer, 0, 8);
  const words = new Uint32Array(memory.buffer, 32, 8);
  const sums = new Uint32Array(memory.buffer, 131_136, 65_536);
  const run = (loop: (length: number) => void, length: number): ChunkExtremes => {
    for (let lane = 0; lane < 4; lane++) {
      floats[lane] = Infinity;
      floats[lane + 4] = -Infinity;
      words[lane] = 0;
      words[lane + 4] = 0xffffffff;
    }
    loop(length);
    const key = Math.min(words[4]!, words[5]!, words[6]!, words[7]!);
    return {
      min: Math.min(floats[0]!, floats[1]!, floats[2]!, floats[3]!),
      max: Math.max(floats[4]!, floats[5]!, floats[6]!, floats[7]!),
      nonFinite: Math.max(words[0]!, words[1]!, words[2]!, words[3]!) >= 0xff000000,
      leastExponent: key === 0xffffffff ? 255 : (key + 1) >>> 24,
    };
  };
  return {
    chunk: new Float32Array(memory.buffer, 64, CHUNK_LENGTH),
    count: (length) => run(count, length),
    extremes: (length) => run(extremes, length),
    take: (from, to) => {
      compact(from, to);
      return sums.subarray(from, to);
    },
  };
}
