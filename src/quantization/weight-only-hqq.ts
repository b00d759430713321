import type { BlockFormat } from './weight-only-format.js';
import { fitRange, largestInteger, middleInteger, SMALLEST_SCALE, type BlockParameters, type FitBlock } from './weight-only-rounding.js';

/** The binary of half-quadratic-kernel.wat; a test compares both and tells the new text after a change. */
export const HALF_QUADRATIC_KERNEL_BASE64 =
  'AGFzbQEAAAABCQFgBX99fX99AAMCAQAFAwEAAQcQAgZtZW1vcnkCAANmaXQAAAr1CAHyCAMEfwF9G3sgBP0TIQ8gAP0R/foBIRAgECAPIA/95gH9DAAAgCkAAIApAACAKQAAgCn95gH9' +
  '5gEhGCAAQQR0IQYDQCAF/QAEACEKIAsgCv3oASELIAwgCv3pASEMIAVBEGohBSAFIAZJDQALIAJDAAAAAF0EQP0MAACAAAAAgAAAAIAAAACAACAMIAv95QEgAf0T/ecB/ekBIQ0gDyAL' +
  '/eEBIA395wH9av3oASEOBf0MAACAAAAAgAAAAIAAAACAACAMIAv94QH96QEgAf0T/ecB/ekBIQ0gAwRAIA394QEgDSAMIAv94QH9RP1SIQ0LIAL9EyEOCyAOIR0gDiEc/QwAAIA/AACA' +
  'PwAAgD8AAIA/IRv9DAAAgH8AAIB/AACAfwAAgH8hGkEAIQUDQCAFIAX9AAQAIA395wH9CwSAICAFQRBqIQUgBSAGSQ0ACwNAQwAAgD9DH4VrP0M9Clc/QwAAQD8gB0ECRhsgB0EBRhsg' +
  'B0Ub/RMhESAdIRJDAACAPyEJQQAhCANA/QwAAAAAAAAAAAAAAAAAAAAAIRn9DAAAAAAAAAAAAAAAAAAAAAAhHv0MAAAAAAAAAAAAAAAAAAAAACEf/QwAAAAAAAAAAAAAAAAAAAAAISD9' +
  'DAAAAAAAAAAAAAAAAAAAAAAhIUEAIQUDQCAF/QAEgCAgEf3nASEWIA/9DAAAAAAAAAAAAAAAAAAAAAAgFv1qIBL95AH96wH96gEgEv3lASETIBYgE/3lASEUIBkgFCAU/eYB/eQBIRkg' +
  'FP3gASEVIBX9DAAAAD8AAAA/AAAAPwAAAD/9RCEXIBf9UwRA/QwAAAAAAAAAAAAAAAAAAAAAIBX9DAAAgD8AAIA/AACAPwAAgD8gCf0TIBX94wH94wH95gH95wH95QH96wEhFSAVIBf9' +
  'TiAU/QwAAACAAAAAgAAAAIAAAACA/U79UCEVIBYgFf3lASEWCyAeIBYgE/3mAf3kASEeIB8gEyAT/eYB/eQBIR8gICAT/eQBISAgISAW/eQBISEgBUEQaiEFIAUgBkkNAAsgGSARIBH9' +
  '5gH95gEhGSAaIBj9RCAZIBr9DHL5fz9y+X8/cvl/P3L5fz/95gH9Q/1OIRcgGSAaIBf9UiEaIBEgGyAX/VIhGyASIBwgF/1SIRwgAkMAAAAAXQRAIBAgH/3mASAgICD95gH95QEhIiAe' +
  'IB/95wEgECAe/eYBICAgIf3mAf3lASAi/ecBICL9DAAAAAAAAAAAAAAAAAAAAAD9Qf1SISMgD/0MAAAAAAAAAAAAAAAAAAAAACASICEgIyAg/eYB/eUBIBD95wEgI/3nAf3lAf1q/esB' +
  '/eoBISQgEiAk/eUBISMgHiAjICH95gH95AEhHiAfICMgICAg/eQBIBAgI/3mAf3kAf3mAf3kASEfICQhEgsgESAeIB/95wH95gEhESAJQ2Zmpj+UIQkgCEEBaiEIIAhBB0kNAAsgB0EB' +
  'aiEHIAdBBEkNAAtBACANIBv95gH9CwSAQEEAIBz9CwSQQAs=';

/** Blocks that are fitted together. */
const FIT_LANES = 4;

const LONGEST_BLOCK = 256;
const SCALES = 8192;
const ZEROS = 8208;

/** The fit of four blocks in WebAssembly, over memory of its own. */
interface HalfQuadraticKernel {
  /** [elements, 4] */
  readonly values: Float32Array;
  readonly scales: Float32Array;
  readonly zeroPoints: Float32Array;
  readonly fit: (count: number, steps: number, middle: number, signed: number, largest: number) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: HalfQuadraticKernel | undefined;

function halfQuadraticKernel(): HalfQuadraticKernel {
  return (kernel ??= create());
}

function create(): HalfQuadraticKernel {
  const module = new WebAssembly.Module(Buffer.from(HALF_QUADRATIC_KERNEL_BASE64, 'base64'));
  const { memory, fit } = new WebAssembly.Instance(module).exports as { readonly memory: { readonly buffer: ArrayBuffer } } & Pick<HalfQuadraticKernel, 'fit'>;
  const floats = (at: number, count: number) => new Float32Array(memory.buffer, at, count);
  return { values: floats(0, LONGEST_BLOCK * FIT_LANES), scales: floats(SCALES, FIT_LANES), zeroPoints: floats(ZEROS, FIT_LANES), fit };
}

/**
 * Half-quadratic quantization, without data: errors are split into a part e that is given up, e = sign(x) · max(0, |x| − |x|^(p − 1) / penalty) of the error x, and
 * the rest, for which scale and zero point have a closed form; both are found in turns, from several shares of the full range. p = 3/4: below 1, few
 * large errors weigh less than many small ones. Of all steps, round to nearest among them, the one with the least squared error stays, so
 * that no block gets worse. Zero points are whole numbers, as integer kernels want them.
 * Source: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023), with the scale optimized too.
 */
export const fitHalfQuadratic: FitBlock = (values, from, count, format, found) => {
  const { values: lanes } = halfQuadraticKernel();
  for (let i = 0, at = 0; i < count; i++, at += FIT_LANES) lanes[at] = values[from + i]!;
  fitLanes(count, format);
  takeLane(0, found);
  // A scale beyond what kernels take is that of a block next to nothing.
  if (Math.abs(found.scale) < SMALLEST_SCALE) fitRange(values, from, count, format, found);
};

/** Fits the blocks that stand in the kernel's memory. */
function fitLanes(count: number, format: BlockFormat): void {
  const { bits, symmetric } = format;
  const largest = largestInteger(format);
  const steps = !symmetric ? largest : bits === 4 ? 8 : 127;
  halfQuadraticKernel().fit(count, steps, symmetric ? middleInteger(format) : -1, bits === 4 ? 1 : 0, largest);
}

function takeLane(lane: number, found: BlockParameters): void {
  const { scales, zeroPoints } = halfQuadraticKernel();
  found.scale = Number.isFinite(scales[lane]!) ? scales[lane]! : NaN;
  found.zeroPoint = zeroPoints[lane]!;
}

/**
 * The same for blocks side by side: elements `from + k · stride + c` are element k of block c. `take` gets the parameters of each block in turn; a scale that
 * is NaN says that a value is not finite.
 */
export function fitColumns(values: Float32Array, from: number, stride: number, count: number, columns: number, format: BlockFormat, take: (column: number, found: BlockParameters) => void): void {
  const { values: lanes } = halfQuadraticKernel();
  const found: BlockParameters = { scale: 1, zeroPoint: 0 };
  for (let first = 0; first < columns; first += FIT_LANES) {
    const width = Math.min(FIT_LANES, columns - first);
    for (let k = 0; k < count; k++) for (let c = 0; c < width; c++) lanes[k * FIT_LANES + c] = values[from + k * stride + first + c]!;
    fitLanes(count, format);
    for (let c = 0; c < width; c++) {
      takeLane(c, found);
      if (Math.abs(found.scale) < SMALLEST_SCALE) fitRange(Float32Array.from({ length: count }, (_, k) => values[from + k * stride + first + c]!), 0, count, format, found);
      take(first + c, found);
    }
  }
}
