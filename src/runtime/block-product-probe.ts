import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Model, ValueInfo } from '../graph/model.js';
import { encodeModel } from '../onnx/model-codec.js';
import { tensorFromArray } from '../tensor/tensor.js';
import type { RuntimeName } from './runtime-names.js';
import { Session } from './session.js';

const DEPTH = 64;
const COLUMNS = 16;
const BLOCK = 32;

/**
 * Whether a runtime's MatMulNBits multiplies integers of so many bits at accuracy level 4. Where it has no such kernel it makes floats of the
 * weights, without a word, and the sums are those of level 1, bit by bit. Rounding the activations to 8 bits changes them.
 */
export async function multipliesBlocksAsIntegers(runtime: RuntimeName, bits: number): Promise<boolean> {
  const [floats, integers] = [await sumsAtLevel(runtime, bits, 1), await sumsAtLevel(runtime, bits, 4)];
  return Buffer.compare(floats, integers) !== 0;
}

async function sumsAtLevel(runtime: RuntimeName, bits: number, level: number): Promise<Uint8Array> {
  const session = await Session.open(encodeModel(blockProduct(bits, level)), { runtime, threads: 0 });
  const x = tensorFromArray('float32', [1, DEPTH], Float32Array.from({ length: DEPTH }, (_, i) => Math.sin(i)));
  const outputs = await session.run(new Map([['x', x]]));
  await session.release();
  return outputs.get('y')!.storage.read();
}

function blockProduct(bits: number, level: number): Model {
  const value = (name: string, shape: number[]): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'float32', shape } });
  const blockBytes = (BLOCK * bits) / 8;
  const blocks = DEPTH / BLOCK;
  const weight = Uint8Array.from({ length: COLUMNS * blocks * blockBytes }, (_, i) => (i * 37) & 255);
  const attributes = Object.entries({ K: DEPTH, N: COLUMNS, bits, block_size: BLOCK, accuracy_level: level });
  return {
    irVersion: 7,
    opsets: new Map([['', 14], ['com.microsoft', 1]]),
    producer: 'qdq',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'probe',
      nodes: [
        createNode({
          name: 'product',
          opType: 'MatMulNBits',
          domain: 'com.microsoft',
          inputs: ['x', 'w', 'scales'],
          outputs: ['y'],
          attributes: Object.fromEntries(attributes.map(([name, number]): [string, Attribute] => [name, { kind: 'int', value: BigInt(number) }])),
        }),
      ],
      initializers: new Map([
        ['w', tensorFromArray('uint8', [COLUMNS, blocks, blockBytes], weight)],
        ['scales', tensorFromArray('float32', [COLUMNS * blocks], new Float32Array(COLUMNS * blocks).fill(1 / 64))],
      ]),
      sparseInitializers: [],
      inputs: [value('x', [1, DEPTH])],
      outputs: [value('y', [1, COLUMNS])],
      valueInfo: [],
    },
  };
}
