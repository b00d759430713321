/** The binary of product-kernel.wat; a test compares both and tells the new text after a change. */
export const PRODUCT_KERNEL_BASE64 =
  'AGFzbQEAAAABDQFgCX9/f39/f39/fwADAwIAAAUDAQABByQDBm1lbW9yeQIACnN1YnRyYWN0MzIAAApzdWJ0cmFjdDY0AAEKqQcC0gMCDH8LewNAQQAhCQNAIAAgCSABbGohCyAEIAkg' +
  'BWwgCkEEbGpqIREgCyABaiEMIBEgBWohEiAMIAFqIQ0gEiAFaiETIA0gAWohDiATIAVqIRQgEf0ABAAhGCAR/QAEECEZIBL9AAQAIRogEv0ABBAhGyAT/QAEACEcIBP9AAQQIR0gFP0A' +
  'BAAhHiAU/QAEECEfIAIhDyALIAdBBGxqIRADQCAP/QAEACEWIA/9AAQQIRcgC/0JAgAhFSAYIBUgFv3mAf3lASEYIBkgFSAX/eYB/eUBIRkgDP0JAgAhFSAaIBUgFv3mAf3lASEaIBsg' +
  'FSAX/eYB/eUBIRsgDf0JAgAhFSAcIBUgFv3mAf3lASEcIB0gFSAX/eYB/eUBIR0gDv0JAgAhFSAeIBUgFv3mAf3lASEeIB8gFSAX/eYB/eUBIR8gD0EgaiEPIAxBBGohDCANQQRqIQ0g' +
  'DkEEaiEOIAtBBGohCyALIBBJDQALIBEgGP0LBAAgESAZ/QsEECASIBr9CwQAIBIgG/0LBBAgEyAc/QsEACATIB39CwQQIBQgHv0LBAAgFCAf/QsEECAJQQRqIQkgCSAGSQ0ACyACIANq' +
  'IQIgCkEIaiEKIAogCEkNAAsL0gMCDH8LewNAQQAhCQNAIAAgCSABbGohCyAEIAkgBWwgCkEIbGpqIREgCyABaiEMIBEgBWohEiAMIAFqIQ0gEiAFaiETIA0gAWohDiATIAVqIRQgEf0A' +
  'BAAhGCAR/QAEECEZIBL9AAQAIRogEv0ABBAhGyAT/QAEACEcIBP9AAQQIR0gFP0ABAAhHiAU/QAEECEfIAIhDyALIAdBCGxqIRADQCAP/QAEACEWIA/9AAQQIRcgC/0KAwAhFSAYIBUg' +
  'Fv3yAf3xASEYIBkgFSAX/fIB/fEBIRkgDP0KAwAhFSAaIBUgFv3yAf3xASEaIBsgFSAX/fIB/fEBIRsgDf0KAwAhFSAcIBUgFv3yAf3xASEcIB0gFSAX/fIB/fEBIR0gDv0KAwAhFSAe' +
  'IBUgFv3yAf3xASEeIB8gFSAX/fIB/fEBIR8gD0EgaiEPIAxBCGohDCANQQhqIQ0gDkEIaiEOIAtBCGohCyALIBBJDQALIBEgGP0LBAAgESAZ/QsEECASIBr9CwQAIBIgG/0LBBAgEyAc' +
  '/QsEACATIB39CwQQIBQgHv0LBAAgFCAf/QsEECAJQQRqIQkgCSAGSQ0ACyACIANqIQIgCkEEaiEKIAogCEkNAAsL';

/** Columns of a panel, by element type. */
export const PANEL = { float32: 8, float64: 4 } as const;
/** Rows come in multiples of this. */
export const PRODUCT_ROWS = 4;

const PAGE_BYTES = 65536;

/** Places and shapes of c −= a · b, in elements: a [m, k] and c [m, n] by rows, b in panels. See product-kernel.wat. */
export interface Product {
  readonly a: { readonly at: number; readonly stride: number };
  readonly b: { readonly at: number; readonly stride: number };
  readonly c: { readonly at: number; readonly stride: number };
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

/** Memory of the kernel with the product over it; valid until the next one is asked for. */
export interface ProductMemory<Values> {
  readonly values: Values;
  readonly subtract: (product: Product) => void;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer; readonly grow: (pages: number) => void };
  readonly subtract32: (...numbers: number[]) => void;
  readonly subtract64: (...numbers: number[]) => void;
}

// Node's types describe WebAssembly only together with those of browsers.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: unknown };
};

let kernel: Exports | undefined;

function withMemory(bytes: number): Exports {
  kernel ??= new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(PRODUCT_KERNEL_BASE64, 'base64'))).exports as Exports;
  const missing = bytes - kernel.memory.buffer.byteLength;
  if (missing > 0) kernel.memory.grow(Math.ceil(missing / PAGE_BYTES));
  return kernel;
}

/** Memory for so many float32 numbers. */
export function productMemory32(count: number): ProductMemory<Float32Array> {
  const { memory, subtract32 } = withMemory(count * 4);
  return { values: new Float32Array(memory.buffer, 0, count), subtract: (product) => subtract32(...inBytes(product, 4)) };
}

/** Memory for so many float64 numbers. */
export function productMemory64(count: number): ProductMemory<Float64Array> {
  const { memory, subtract64 } = withMemory(count * 8);
  return { values: new Float64Array(memory.buffer, 0, count), subtract: (product) => subtract64(...inBytes(product, 8)) };
}

function inBytes({ a, b, c, m, k, n }: Product, width: number): number[] {
  return [...[a.at, a.stride, b.at, b.stride, c.at, c.stride].map((elements) => elements * width), m, k, n];
}
