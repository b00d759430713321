import type { BlockFormat } from './weight-only-format.js';

/** The binary of block-kernel.wat; a test compares both and tells the new text after a change. */
export const BLOCK_KERNEL_BASE64 =
  'AGFzbQEAAAABGQJgA39/fwBgD39/f39/f31/f39/f39/fwADBAMAAAEFAwEAAQcTAgZtZW1vcnkCAAZibG9ja3MAAgqLDwNUAQJ/IAJBBnQhBANAIAMgAP0ABAD9CwQAIAMgAP0ABBD9' +
  'CwQQIAMgAP0ABCD9CwQgIAMgAP0ABDD9CwQwIAAgAWohACADQcAAaiEDIAMgBEkNAAsL0AICBH8GewNAQQAhBiAFIQMDQCAAIAZBAnRqIQQgBP0ABAAhByAEIAFqIQQgBP0ABAAhCCAE' +
  'IAFqIQQgBP0ABAAhCSAEIAFq/QAEACEKIAcgCP0NAAECAxAREhMEBQYHFBUWFyELIAkgCv0NAAECAxAREhMEBQYHFBUWFyEMIAMgCyAM/Q0AAQIDBAUGBxAREhMUFRYX/QsEACADIAsg' +
  'DP0NCAkKCwwNDg8YGRobHB0eH/0LBEAgByAI/Q0ICQoLGBkaGwwNDg8cHR4fIQsgCSAK/Q0ICQoLGBkaGwwNDg8cHR4fIQwgAyALIAz9DQABAgMEBQYHEBESExQVFhf9CwSAASADIAsg' +
  'DP0NCAkKCwwNDg8YGRobHB0eH/0LBMABIANBgAJqIQMgBkEEaiEGIAYgAkkNAAsgACABQQJ0aiEAIAVBEGohBSAFQcAASQ0ACwvhCwIIfwp7IAn9ESEe/QwAAEBLAABASwAAQEsAAEBL' +
  'ISADQCACBEAgACAPIAFsaiABIAQQAQUgACAPQQJ0aiABIAQQAAtBACEQA0D9DAAAAAAAAAAAAAAAAAAAAAAhGP0MAAAAAAAAAAAAAAAAAAAAACEZ/QwAAAAAAAAAAAAAAAAAAAAAIRog' +
  'ECERIBAgBEEGdGohEgNAIBH9AAQAIRcgGCAX/eoBIRggGSAX/esBIRkgGiAX/eAB/bgBIRogEf0ABEAhFyAYIBf96gEhGCAZIBf96wEhGSAaIBf94AH9uAEhGiAR/QAEgAEhFyAYIBf9' +
  '6gEhGCAZIBf96wEhGSAaIBf94AH9uAEhGiAR/QAEwAEhFyAYIBf96gEhGCAZIBf96wEhGSAaIBf94AH9uAEhGiARQYACaiERIBEgEkkNAAsgB0EASARA/QwAAIAAAACAAAAAgAAAAIAA' +
  'IBkgGP3lASAG/RP95wH96QEhGyAeIBj94QEgG/3nAf1q/fgB/bYBIRz9DAAAwH8AAMB/AADAfwAAwH8gGyAa/QwAAIB/AACAfwAAgH8AAIB//T/9UiEbBf0MAACAAAAAgAAAAIAAAACA' +
  'ACAaIAb9E/3nAf3pASEbIAgEQCAb/eEBIBsgGSAY/eEB/UT9UiEbCyAH/REhHAsgDyAQQQJ2aiAObCETIBMgDmohFCAUIA5qIRUgFSAOaiEWIA0gE2ogHP1YAAAAIA0gFGogHP1YAAAE' +
  'IA0gFWogHP1YAAAIIA0gFmogHP1YAAAMIAwgE0ECdGogG/1aAgAAIAwgFEECdGogG/1aAgABIAwgFUECdGogG/1aAgACIAwgFkECdGogG/1aAgADIBwgIP2xASEdIBAhESAKIA8gEEEC' +
  'dmogC2xqIRMgEyALaiEUIBQgC2ohFSAVIAtqIRYDQCAFQQRGBEAgHv0MAAAAAAAAAAAAAAAAAAAAACAdICAgEf0ABMADIBv95wH95AH9rgH9uAH9tgEhHyAfQQT9qwEgHv0MAAAAAAAA' +
  'AAAAAAAAAAAAACAdICAgEf0ABIADIBv95wH95AH9rgH9uAH9tgH9UCEfIB9BBP2rASAe/QwAAAAAAAAAAAAAAAAAAAAAIB0gICAR/QAEwAIgG/3nAf3kAf2uAf24Af22Af1QIR8gH0EE' +
  '/asBIB79DAAAAAAAAAAAAAAAAAAAAAAgHSAgIBH9AASAAiAb/ecB/eQB/a4B/bgB/bYB/VAhHyAfQQT9qwEgHv0MAAAAAAAAAAAAAAAAAAAAACAdICAgEf0ABMABIBv95wH95AH9rgH9' +
  'uAH9tgH9UCEfIB9BBP2rASAe/QwAAAAAAAAAAAAAAAAAAAAAIB0gICAR/QAEgAEgG/3nAf3kAf2uAf24Af22Af1QIR8gH0EE/asBIB79DAAAAAAAAAAAAAAAAAAAAAAgHSAgIBH9AARA' +
  'IBv95wH95AH9rgH9uAH9tgH9UCEfIB9BBP2rASAe/QwAAAAAAAAAAAAAAAAAAAAAIB0gICAR/QAEACAb/ecB/eQB/a4B/bgB/bYB/VAhHyARQYAEaiERBSAe/QwAAAAAAAAAAAAAAAAA' +
  'AAAAIB0gICAR/QAEwAEgG/3nAf3kAf2uAf24Af22ASEfIB9BCP2rASAe/QwAAAAAAAAAAAAAAAAAAAAAIB0gICAR/QAEgAEgG/3nAf3kAf2uAf24Af22Af1QIR8gH0EI/asBIB79DAAA' +
  'AAAAAAAAAAAAAAAAAAAgHSAgIBH9AARAIBv95wH95AH9rgH9uAH9tgH9UCEfIB9BCP2rASAe/QwAAAAAAAAAAAAAAAAAAAAAIB0gICAR/QAEACAb/ecB/eQB/a4B/bgB/bYB/VAhHyAR' +
  'QYACaiERCyATIB/9WgIAACAUIB/9WgIAASAVIB/9WgIAAiAWIB/9WgIAAyATQQRqIRMgFEEEaiEUIBVBBGohFSAWQQRqIRYgESASSQ0ACyAQQRBqIRAgEEHAAEkNAAsgD0EQaiEPIA8g' +
  'A0kNAAsL';

/** Channels that the kernel takes together: memory is needed, and its contents do not matter, up to a multiple of so many. */
export const KERNEL_CHANNELS = 16;

const FLOAT_BYTES = 4;
const PAGE_BYTES = 65536;
/** Sixteen channels of the longest block. */
const TILE_BYTES = 256 * KERNEL_CHANNELS * FLOAT_BYTES;

/** What a stripe of channels takes in the kernel's memory. Integers, scales and zero points are those of the padded channels, all blocks of one after the other. */
export interface StripeSize {
  /** Floats that are there at a time. */
  readonly values: number;
  readonly channels: number;
  readonly blocks: number;
}

/** Memory of the kernel, valid until the next stripe is asked for. */
export interface Stripe {
  readonly values: Float32Array;
  readonly integers: Uint8Array;
  readonly scales: Float32Array;
  /** One byte each. */
  readonly zeroPoints: Uint8Array;
  /** Rounds one block of each of some channels as `fitRange` and `roundBlock` do. NaN and infinity come out in the scale. */
  round(source: BlockSource, block: number): void;
}

/** Where the values of a block lie in `values`, in elements. */
export interface BlockSource {
  readonly from: number;
  /** From one channel to the next where the elements of each are adjacent, from one element of a channel to the next where channels are. */
  readonly stride: number;
  readonly adjacent: 'elements' | 'channels';
  /** The first channel within the stripe, and how many there are. */
  readonly channel: number;
  readonly channels: number;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => void };
  readonly blocks: (...numbers: number[]) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: Exports | undefined;

/** Memory for a stripe of channels in this thread's kernel, which is made at the first call. */
export function blockStripe({ values, channels, blocks }: StripeSize, { bits, blockSize, symmetric }: BlockFormat): Stripe {
  kernel ??= new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(BLOCK_KERNEL_BASE64, 'base64'))).exports as Exports;
  const { memory, blocks: roundBlocks } = kernel;
  const blockBytes = (blockSize * bits) / 8;
  const parameters = Math.ceil(channels / KERNEL_CHANNELS) * KERNEL_CHANNELS * blocks;
  // The last row that is read may begin before the end of the values and go beyond it.
  const at = consecutive(TILE_BYTES, values * FLOAT_BYTES + TILE_BYTES, parameters * blockBytes, parameters * FLOAT_BYTES, parameters);
  const missing = at[4]! - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
  const largest = 2 ** bits - 1;
  const steps = !symmetric ? largest : bits === 4 ? 8 : 127;
  const middle = symmetric ? 2 ** (bits - 1) : -1;
  return {
    values: new Float32Array(memory.buffer, at[0], values),
    integers: new Uint8Array(memory.buffer, at[1], parameters * blockBytes),
    scales: new Float32Array(memory.buffer, at[2], parameters),
    zeroPoints: new Uint8Array(memory.buffer, at[3], parameters),
    round: ({ from, stride, adjacent, channel, channels: count }, block) => {
      const first = channel * blocks + block;
      roundBlocks(
        ...[at[0]! + from * FLOAT_BYTES, stride * FLOAT_BYTES, adjacent === 'elements' ? 1 : 0, count, blockSize, bits, steps, middle, bits === 4 ? 1 : 0, largest],
        ...[at[1]! + first * blockBytes, blocks * blockBytes, at[2]! + first * FLOAT_BYTES, at[3]! + first, blocks],
      );
    },
  };
}

/** Offsets of parts of so many bytes behind each other, from `start` on, each at a cache line, and their end. */
function consecutive(start: number, ...sizes: number[]): number[] {
  let at = start;
  return [at, ...sizes.map((size) => (at = Math.ceil((at + size) / 64) * 64))];
}
