import { Session, type SessionOptions } from '../../src/runtime/session.js';
import { elementCount, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise } from './graph-builder.js';

/** What a symbolic dimension is taken to be. */
const SYMBOLIC = 3;

/** Noise for every input of a model: floats from −2 to 2, booleans, and small integers. */
export async function randomFeeds(model: Uint8Array, seed = 100): Promise<Map<string, Tensor>> {
  const session = await Session.open(model, { optimization: 'disabled' });
  const feeds = new Map(
    session.inputs.map(({ name, dtype, shape }, i): [string, Tensor] => {
      const dims = shape.map((dim) => (typeof dim === 'number' && dim > 0 ? dim : SYMBOLIC));
      const values = noise(elementCount(dims), seed + i);
      switch (dtype) {
        case 'float32':
          return [name, tensorFromArray('float32', dims, values.map((value) => value * 2))];
        case 'bool':
          return [name, tensorFromArray('bool', dims, Uint8Array.from(values, (value) => (value > 0 ? 1 : 0)))];
        case 'int64':
          return [name, tensorFromArray('int64', dims, BigInt64Array.from(values, (value) => BigInt(Math.floor((value + 1) * 4))))];
        default:
          throw new TypeError(`no noise of ${dtype}`);
      }
    }),
  );
  await session.release();
  return feeds;
}

/** The outputs of one run as numbers. */
export async function runModel(model: Uint8Array, feeds: ReadonlyMap<string, Tensor>, options: SessionOptions = {}): Promise<Map<string, Float64Array>> {
  const session = await Session.open(model, { threads: 1, ...options });
  const outputs = await session.run(feeds);
  await session.release();
  return new Map([...outputs].map(([name, tensor]) => [name, Float64Array.from(numbersOf(tensor))]));
}

/** 10 · log10(Σ expected² / Σ (expected − received)²); infinite where nothing differs. */
export function sqnrDb(expected: Float64Array, received: Float64Array): number {
  const signal = expected.reduce((sum, value) => sum + value ** 2, 0);
  const noise = expected.reduce((sum, value, i) => sum + (value - received[i]!) ** 2, 0);
  return noise === 0 ? Infinity : 10 * Math.log10(signal / noise);
}
