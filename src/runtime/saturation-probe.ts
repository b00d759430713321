import type { Model, ValueInfo } from '../graph/model.js';
import { createNode } from '../graph/graph-editor.js';
import { encodeModel } from '../onnx/model-codec.js';
import { tensorFromArray, typedArrayOf } from '../tensor/tensor.js';
import { Session } from './session.js';
import { defineTask } from './task.js';

/** Products that are added up: enough for every kernel's inner loop. */
const DEPTH = 64;
const ROWS = 8;
const COLUMNS = 32;

/** What u8 × s8 products come to on this machine. */
export interface SaturationProbe {
  /** Whether sums of extreme products are exact. Without VNNI, x64 adds pairs of them in saturating 16 bits. */
  readonly exact: boolean;
  /** Σ 255 · 127 over the depth, as it must be, and as the runtime computed it. */
  readonly expected: number;
  readonly received: number;
}

/** Multiplies the largest u8 by the largest s8 values in the runtime's integer kernel and compares with exact arithmetic. */
export const saturationProbeTask = defineTask(import.meta.url, 'saturationProbeTask', async (): Promise<SaturationProbe> => {
  const session = await Session.open(encodeModel(probeModel()));
  const a = tensorFromArray('uint8', [ROWS, DEPTH], new Uint8Array(ROWS * DEPTH).fill(255));
  const outputs = await session.run(new Map([['a', a]]));
  await session.release();
  const received = Number(typedArrayOf(outputs.get('y')!)[0]);
  const expected = DEPTH * 255 * 127;
  return { exact: received === expected, expected, received };
});

function probeModel(): Model {
  const value = (name: string, dtype: 'uint8' | 'int32', shape: number[]): ValueInfo => ({ name, type: { kind: 'tensor', dtype, shape } });
  const weight = tensorFromArray('int8', [DEPTH, COLUMNS], new Int8Array(DEPTH * COLUMNS).fill(127));
  return {
    irVersion: 7,
    opsets: new Map([['', 13]]),
    producer: 'qdq',
    metadata: new Map(),
    functions: [],
    graph: {
      name: 'probe',
      nodes: [createNode({ name: 'product', opType: 'MatMulInteger', inputs: ['a', 'b'], outputs: ['y'] })],
      initializers: new Map([['b', weight]]),
      sparseInitializers: [],
      inputs: [value('a', 'uint8', [ROWS, DEPTH])],
      outputs: [value('y', 'int32', [ROWS, COLUMNS])],
      valueInfo: [],
    },
  };
}
