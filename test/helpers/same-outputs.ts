import assert from 'node:assert/strict';
import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import type { Evaluate } from '../../src/passes/pass.js';
import { Session } from '../../src/runtime/session.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { randomArray } from './graph-text.js';

type Values = ReadonlyMap<string, Tensor>;

/** The outputs of one run of a model in onnxruntime, in this process and without optimizations. */
export async function outputsOf(model: Model, feeds: Values = feedsFor(model)): Promise<Map<string, Tensor>> {
  const session = await Session.open(encodeModel(model), { threads: 1, optimization: 'disabled' });
  try {
    return await session.run(feeds, model.graph.outputs.map((output) => output.name));
  } finally {
    await session.release();
  }
}

/** Repeatable values for the inputs that have no default; dimensions that are not fixed become 2. */
export function feedsFor(model: Model, seed = 1): Map<string, Tensor> {
  const feeds = new Map<string, Tensor>();
  for (const { name, type } of model.graph.inputs) {
    if (model.graph.initializers.has(name) || type.kind !== 'tensor') continue;
    const dims = (type.shape ?? []).map((dim) => (typeof dim === 'number' ? dim : 2));
    feeds.set(name, tensorFromArray(type.dtype, dims, randomArray(type.dtype, elementCount(dims), seed + feeds.size)));
  }
  return feeds;
}

/** Computes constants in this process, as `constantEvaluator` does in the child. */
export const evaluateHere: Evaluate = async (model, values) => {
  const outputs = values.map((name) => ({ name, type: { kind: 'none' } as const }));
  return outputsOf({ ...model, graph: { ...model.graph, outputs, valueInfo: [] } }, new Map());
};

/** Asserts that outputs have the same types, shapes and bits, or that they differ by at most `tolerance` of the largest magnitude. */
export function assertSameOutputs(actual: Values, expected: Values, tolerance = 0): void {
  assert.deepEqual([...actual.keys()], [...expected.keys()]);
  for (const [name, wanted] of expected) {
    const received = actual.get(name)!;
    assert.deepEqual([received.dtype, received.dims, received.strings], [wanted.dtype, wanted.dims, wanted.strings], name);
    if (Buffer.from(received.storage.read()).equals(wanted.storage.read())) continue;
    const [values, others] = [numbersOf(received), numbersOf(wanted)];
    const limit = tolerance * Math.max(1, ...Array.from(others, Math.abs));
    const off = values.findIndex((value, i) => !(Math.abs(value - others[i]!) <= limit && tolerance > 0));
    assert.ok(off < 0, `${name}[${off}]: ${values[off]} instead of ${others[off]}`);
  }
}
