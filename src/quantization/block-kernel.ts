import type { BlockFormat } from './weight-only-format.js';

/** The binary of block-kernel.wat; a test compares both and tells the new text after a change. */
export const BLOCK_KERNEL_BASE64 =
  'AGFzbQEAAAABGAJgA39/fwBgDn9/f39/f319f31/f39/AAMDAgABBQMBACgHEwIGbWVtb3J5AgAGYmxvY2tzAAEKjQUCcQEFfyACQQR0IQQgACABaiEFIAUgAWohBiAGIAFqIQcDQCAD' +
  'IARJBEAgAyAHIAYgBSAA/QkCAP1WAgAB/VYCAAL9VgIAA/0LBAAgAEEEaiEAIAVBBGohBSAGQQRqIQYgB0EEaiEHIANBEGohAwwBCwsLmAQCB38HewNAIAAgDiABbGohDyACIRAgAUEE' +
  'RwRAIA8gASAEEABBACEPQRAhEAv9DAAAAAAAAAAAAAAAAAAAAAAhFv0MAAAAAAAAAAAAAAAAAAAAACEXQQAhESAPIRIDQCAS/QAEACEVIBYgFf3oASEWIBcgFf3pASEXIBIgEGohEiAR' +
  'QQFqIREgESAESQ0ACyAHQwAAAABdBED9DAAAgAAAAIAAAACAAAAAgAAgFyAW/eUBIAb9E/3nAf3pASEZIAn9EyAW/eEBIBn95wH9av3oASEaBSAXIBb94QH96QEhGP0MAACAAAAAgAAA' +
  'AIAAAACAACAYIAb9E/3nAf3pASEZIAgEQCAZ/eEBIBkgFyAW/eEB/UT9UiEZCyAH/RMhGgsgDCAOQQJ0aiAZ/QsEACANIA5BAnRqIBr9+AH9CwQAQQAhESAPIRIgCiAOIAtsaiEUA0D9' +
  'DAAAAAAAAAAAAAAAAAAAAAAhG0EAIRMDQCAbIAn9E/0MAAAAAAAAAAAAAAAAAAAAACAaIBL9AAQAIBn95wH9av3kAf3pAf3oAf34ASAT/asB/VAhGyASIBBqIRIgEUEBaiERIBMgBWoh' +
  'EyATQSBJDQALIBQgG/1aAgAAIBQgC2ogG/1aAgABIBQgC0ECbGogG/1aAgACIBQgC0EDbGogG/1aAgADIBRBBGohFCARIARJDQALIA5BBGohDiAOIANJDQALCw==';

/** Channels whose blocks are rounded by one call at most, and floats that they take together. */
export const KERNEL_CHANNELS = 1024;
const KERNEL_FLOATS = KERNEL_CHANNELS * 256;

const FLOAT_BYTES = 4;
/** A vector of four channels for each element of the longest block. */
const TILE_BYTES = 256 * 16;
const VALUES = TILE_BYTES;
const INTEGERS = VALUES + KERNEL_FLOATS * FLOAT_BYTES;
const SCALES = INTEGERS + KERNEL_CHANNELS * 256;
const ZEROS = SCALES + KERNEL_CHANNELS * FLOAT_BYTES;

/** Where the values of a call lie in `values`, in elements. */
export interface BlockSource {
  readonly from: number;
  /** From one channel to the next: 1, or anything where elements of a channel are adjacent. */
  readonly channelStride: number;
  readonly depthStride: number;
  readonly channels: number;
}

/** The rounding of blocks in WebAssembly, over memory of its own. */
export interface BlockKernel {
  readonly values: Float32Array;
  /** Integers of the last call, four bytes a word: a block after the other. */
  readonly words: Uint32Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Int32Array;
  /** Rounds one block of each channel as `fitRange` and `roundBlock` do. NaN and infinity come out in the scale. */
  round(source: BlockSource, format: BlockFormat): void;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  readonly blocks: (...numbers: number[]) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: BlockKernel | undefined;

/** This thread's kernel, made at the first call. */
export function blockKernel(): BlockKernel {
  return (kernel ??= create());
}

function create(): BlockKernel {
  const module = new WebAssembly.Module(Buffer.from(BLOCK_KERNEL_BASE64, 'base64'));
  const { memory, blocks } = new WebAssembly.Instance(module).exports as Exports;
  return {
    values: new Float32Array(memory.buffer, VALUES, KERNEL_FLOATS),
    words: new Uint32Array(memory.buffer, INTEGERS, (KERNEL_CHANNELS * 256) / 4),
    scales: new Float32Array(memory.buffer, SCALES, KERNEL_CHANNELS),
    zeroPoints: new Int32Array(memory.buffer, ZEROS, KERNEL_CHANNELS),
    round: ({ from, channelStride, depthStride, channels }, { bits, blockSize, symmetric }) => {
      const largest = 2 ** bits - 1;
      const steps = !symmetric ? largest : bits === 4 ? 8 : 127;
      const middle = symmetric ? 2 ** (bits - 1) : -1;
      const place = [VALUES + from * FLOAT_BYTES, channelStride * FLOAT_BYTES, depthStride * FLOAT_BYTES, channels] as const;
      blocks(...place, blockSize, bits, steps, middle, bits === 4 ? 1 : 0, largest, INTEGERS, (blockSize * bits) / 8, SCALES, ZEROS);
    },
  };
}
