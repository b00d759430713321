import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeNpz } from '../../src/data/npz.js';
import { quantize } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { noise } from '../helpers/graph-builder.js';
import { parseModel } from '../helpers/graph-text.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const DIMS = [1, 16, 24, 24];
const COUNT = 16 * 24 * 24;

/**
 * Of the branches the first has values over many powers of ten, of which those below 1 count: no range serves it, and the narrowest best. The others are
 * a small part of the sum, with rare values of ten times the size that do count.
 */
const MODEL = `
  opset 17
  input x float32[1,16,24,24]
  input z float32[1,16,24,24]
  const a float32[16,16,1,1] ${Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 : 0)).join(' ')}
  const b float32[32,16,3,3] ~1
  const c float32[32,32,3,3] ~2
  const d float32[16,32,3,3] ~3
  const low float32[] -1
  const high float32[] 1
  const part float32[] 0.0012
  loud: l = Conv(x, a)
  clip: k = Clip(l, low, high)
  first: f = Conv(z, b) pads=[1,1,1,1]
  second: s = Conv(f, c) pads=[1,1,1,1]
  third: t = Conv(s, d) pads=[1,1,1,1]
  scale: p = Mul(t, part)
  sum: y = Add(k, p)
  output y`;

function sample(seed: number): Map<string, ReturnType<typeof tensorFromArray>> {
  const [spread, second, third, signs] = [0, 1, 2, 3].map((i) => noise(COUNT, 1000 * i + seed)) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const loud = spread.map((value, i) => Math.sign(signs[i]!) * Math.exp(3 * (value + second[i]! + third[i]!)));
  const spiky = noise(COUNT, 300 + seed).map((value, i) => (Math.abs(spread[i]!) > 0.9995 ? 10 : 1) * value);
  return new Map([['x', tensorFromArray('float32', DIMS, loud)], ['z', tensorFromArray('float32', DIMS, spiky)]]);
}

test('a node that is too loud whatever its range does not decide the ranges of the others', async (t) => {
  const folder = temporaryFolder(t);
  const data = join(folder, 'data');
  mkdirSync(data);
  const model = join(folder, 'model.onnx');
  writeFileSync(model, encodeModel(parseModel(MODEL)));
  for (let i = 0; i < 8; i++) writeFileSync(join(data, `${i}.npz`), encodeNpz(sample(i)));
  const planOut = join(folder, 'plan.json');
  // Nothing is decided by the clock.
  const result = await quantize({ model, data: [data], output: join(folder, 'out.onnx'), target: 'ort-x64', prefer: 'integer', threads: 1, planOut });
  const ofModel = result.methods.find(({ chosen }) => chosen)!;
  const change = result.changes.find(({ pass }) => pass === 'ranges')!;
  const [, before, after] = /^without the loudest nodes, ranges by .* instead of .*: ([\d.]+) → ([\d.]+) dB$/.exec(change.message)!;
  assert.ok(Number(after) > Number(before) + 1 && Number(before) < 31, change.message);
  assert.notEqual(result.ranges, ofModel.percentile === null ? ofModel.method : `${ofModel.method} ${ofModel.percentile}`);
  assert.deepEqual(result.nodes.filter(({ decision }) => decision === 'quantized').map(({ name }) => name), ['first', 'second', 'third']);
  assert.match(result.nodes[0]!.reason!, /^not static by measurement; its share of the noise when static is \d+ dB below the signal$/);
  assert.ok(result.check!.sqnrDb['y']! > 31);
  const again = await quantize({ model, plan: planOut, output: join(folder, 'again.onnx') });
  assert.equal(again.output!.sha256, result.output!.sha256);
});
