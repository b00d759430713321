import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fraction, imageSize, numberList, shapes, textList } from '../../commands/options.js';

test('imageSize: the shorter edge, or width and height', () => {
  assert.equal(imageSize('224'), 224);
  assert.deepEqual(imageSize('224x192'), { width: 224, height: 192 });
  for (const text of ['', '0', '-1', '1.5', 'x192', '224x', '1x2x3', '224x0']) assert.throws(() => imageSize(text), /Expected pixels/, text);
});

test('fraction: as people write the scale of pixels', () => {
  assert.equal(fraction('1/255'), 1 / 255);
  assert.equal(fraction('0.5'), 0.5);
  for (const text of ['', '1/', '/255', '1/2/3', 'x', '1/0']) assert.throws(() => fraction(text), /Expected a number or a fraction/, text);
});

test('shapes: names may hold colons and equals signs, scalars have no dimensions', () => {
  assert.deepEqual(shapes('b=2,3', { a: [1] }), { a: [1], b: [2, 3] });
  assert.deepEqual(shapes('x:0=1,3'), { 'x:0': [1, 3] });
  assert.deepEqual(shapes('a=b=1'), { 'a=b': [1] });
  assert.deepEqual(shapes('s='), { s: [] });
  for (const text of ['x', '=1', 'x=0', 'x=1,,2', 'x=N']) assert.throws(() => shapes(text), /Expected an input name/, text);
});

test('lists: commas, and options given several times', () => {
  assert.deepEqual(numberList('0.5,-1', [2]), [2, 0.5, -1]);
  assert.deepEqual(textList('Conv, Gemm', ['MatMul']), ['MatMul', 'Conv', 'Gemm']);
});
