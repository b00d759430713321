import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ModelInput } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { assertFails, collect, folderWith, ROW_INPUT, valuesOf } from './support.js';

const ROWS = 'for (let i = 0; i < 5; i++) yield { x: new Float32Array([i, i, i]) };';

test('a reader may be an async generator function, and is called for each pass', async (t) => {
  const path = join(folderWith(t, { 'reader.mjs': `export default async function* () { ${ROWS} }` }), 'reader.mjs');
  const data = await openData({ paths: [path] }, ROW_INPUT);
  assert.equal(data.total, undefined);
  for (let pass = 0; pass < 2; pass++) {
    const samples = await collect(data);
    assert.deepEqual(samples.map(({ name }) => name), [0, 1, 2, 3, 4].map((i) => `reader.mjs#00000${i}`));
    assert.deepEqual(samples.map(({ inputs }) => valuesOf(inputs.get('x'))[0]), [0, 1, 2, 3, 4]);
    assert.deepEqual(samples[0]!.inputs.get('x')!.dims, [1, 3]);
  }
});

test('a reader may be an iterable, a function returning one or a promise of one, or an array', async (t) => {
  const folder = folderWith(t, {
    'iterable.mjs': `export default { *[Symbol.iterator]() { ${ROWS} } };`,
    'promise.mjs': `export default async () => ({ async *[Symbol.asyncIterator]() { ${ROWS} } });`,
    'array.mjs': 'export default [0, 1, 2, 3, 4].map((i) => ({ x: new Float32Array([i, i, i]) }));',
    'common.cjs': 'module.exports = [0, 1, 2, 3, 4].map((i) => ({ x: new Float32Array([i, i, i]) }));',
  });
  for (const file of ['iterable.mjs', 'promise.mjs', 'array.mjs', 'common.cjs']) {
    const data = await openData({ paths: [join(folder, file)] }, ROW_INPUT);
    assert.equal(data.total, file === 'array.mjs' || file === 'common.cjs' ? 5 : undefined);
    assert.deepEqual((await collect(data)).map(({ inputs }) => valuesOf(inputs.get('x'))[0]), [0, 1, 2, 3, 4], file);
  }
});

test('a reader is told the inputs and may give dims, data and type', async (t) => {
  const source = `export default function* ({ inputs }) {
    yield { [inputs[0].name]: { dims: [2, 3], data: new Float64Array(6).fill(0.5), type: 'float64' } };
  }`;
  const path = join(folderWith(t, { 'reader.js': source, 'package.json': '{"type":"module"}' }), 'reader.js');
  const [sample] = await collect(await openData({ paths: [path] }, ROW_INPUT));
  assert.equal(sample!.inputs.get('x')!.dtype, 'float32');
  assert.deepEqual(sample!.inputs.get('x')!.dims, [2, 3]);
});

test('a reader may write each sample into the same array', async (t) => {
  const source = 'const x = new Float32Array(3); export default function* () { for (let i = 0; i < 3; i++) { x.fill(i); yield { x }; } }';
  const path = join(folderWith(t, { 'reader.mjs': source }), 'reader.mjs');
  const samples = await collect(await openData({ paths: [path] }, ROW_INPUT));
  assert.deepEqual(samples.map(({ inputs }) => valuesOf(inputs.get('x'))[0]), [0, 1, 2]);
});

test('split, limit and filter work on readers, endless ones too', async (t) => {
  const folder = folderWith(t, {
    'five.mjs': `export default async function* () { ${ROWS} }`,
    'endless.mjs': 'export default function* () { for (let i = 0; ; i++) yield { x: new Float32Array(3).fill(i) }; }',
  });
  const open = (file: string, spec: { split?: string; limit?: number }) => openData({ paths: [join(folder, file)], ...spec }, ROW_INPUT);
  const firsts = async (data: Awaited<ReturnType<typeof open>>) => (await collect(data)).map(({ inputs }) => valuesOf(inputs.get('x'))[0]);
  assert.deepEqual(await firsts(await open('endless.mjs', { limit: 3 })), [0, 1, 2]);
  assert.deepEqual(await firsts(await open('endless.mjs', { limit: 2, split: 'odd' })), [1, 3]);
  assert.deepEqual(await firsts(await open('five.mjs', { split: 'even' })), [0, 2, 4]);
  assert.equal((await firsts(await open('five.mjs', { split: '40%' }))).length, 2);
  assert.deepEqual(await firsts((await open('five.mjs', { split: 'even' })).filter((_, i) => i !== 1)), [0, 4]);
  assert.equal((await (await open('five.mjs', {})).names()).length, 5);
});

test('a reader that cannot be read again is refused at once', async (t) => {
  const path = join(folderWith(t, { 'once.mjs': `export default (function* () { ${ROWS} })();` }), 'once.mjs');
  await assertFails(() => openData({ paths: [path] }, ROW_INPUT), 'data-invalid', /once\.mjs: .* read only once/, /generator function itself/);
});

test('what is wrong with a reader is named with its place', async (t) => {
  const folder = folderWith(t, {
    'syntax.mjs': 'export default (',
    'none.mjs': 'export const x = 1;',
    'number.mjs': 'export default () => 5;',
    'empty.mjs': 'export default function* () {}',
    'emptyarray.mjs': 'export default [];',
    'throws.mjs': 'export default function* () { yield { x: new Float32Array(3) }; throw new Error("no disk"); }',
    'rejects.mjs': 'export default async () => { throw new Error("no network"); };',
    'plain.mjs': 'export default [{ x: [1, 2, 3] }];',
    'bare.mjs': 'export default [new Float32Array(3)];',
    'other.mjs': 'export default [{ y: new Float32Array(3) }];',
  });
  const read = (file: string) => async () => collect(await openData({ paths: [join(folder, file)] }, ROW_INPUT));
  await assertFails(read('syntax.mjs'), 'data-invalid', /syntax\.mjs: the reader module cannot be loaded: /);
  await assertFails(read('none.mjs'), 'data-invalid', /none\.mjs: expected an iterable as the default export.* received undefined/);
  await assertFails(read('number.mjs'), 'data-invalid', /number\.mjs: the reader function returned a value of type number/);
  await assertFails(read('empty.mjs'), 'data-empty', /empty\.mjs: the reader gives no samples/);
  await assertFails(read('emptyarray.mjs'), 'data-empty', /emptyarray\.mjs: the reader gives no samples/);
  await assertFails(read('throws.mjs'), 'data-invalid', /throws\.mjs: the reader failed at sample 1: no disk/);
  await assertFails(read('rejects.mjs'), 'data-invalid', /rejects\.mjs: the reader failed at sample 0: no network/);
  await assertFails(read('plain.mjs'), 'data-invalid', /plain\.mjs#0: expected a typed array or .* received a plain array/);
  await assertFails(read('bare.mjs'), 'data-invalid', /bare\.mjs#0: expected an object .* received a Float32Array/);
  await assertFails(read('other.mjs'), 'data-invalid', /other\.mjs#0: .*"y"/);
  await assertFails(read('gone.mjs'), 'file-not-found', /gone\.mjs: no such file/);
  await assertFails(() => openData({ paths: [join(folder, 'plain.mjs'), folder] }, ROW_INPUT), 'usage', /cannot be combined/);
});

test('bare arrays take the type and shape that the input asks for', async (t) => {
  const source = `export default [{
    half: new Uint16Array([0x3c00, 0xc000]), flag: new Uint8Array([1]), ids: new BigInt64Array(8), text: { dims: [2], data: ['a', 'b'] },
    bytes: Buffer.from([1, 2, 3, 4]),
  }];`;
  const inputs: ModelInput[] = [
    { name: 'half', dtype: 'float16', shape: [2] },
    { name: 'flag', dtype: 'bool', shape: [null] },
    { name: 'ids', dtype: 'int64', shape: ['batch', 'tokens'] },
    { name: 'text', dtype: 'string', shape: ['N'] },
    { name: 'bytes', dtype: 'uint8', shape: [1, 'H', 2] },
  ];
  const path = join(folderWith(t, { 'reader.mjs': source }), 'reader.mjs');
  const [sample] = await collect(await openData({ paths: [path] }, inputs));
  assert.deepEqual([...sample!.inputs.values()].map(({ dtype, dims }) => [dtype, dims]), [
    ['float16', [2]],
    ['bool', [1]],
    ['int64', [8, 1]],
    ['string', [2]],
    ['uint8', [1, 2, 2]],
  ]);
  assert.deepEqual(valuesOf(sample!.inputs.get('half')), [1, -2]);
  assert.deepEqual(sample!.inputs.get('text')!.strings, ['a', 'b']);
});

test('arrays that do not fill their shape are refused', async (t) => {
  const folder = folderWith(t, {
    'bare.mjs': 'export default [{ x: new Float32Array(4) }];',
    'dims.mjs': 'export default [{ x: { dims: [2, 3], data: new Float32Array(5) } }];',
    'type.mjs': 'export default [{ x: { dims: [1, 3], data: new Float32Array(3), type: "float64" } }];',
    'unknown.mjs': 'export default [{ x: { dims: [1, 3], data: new Float32Array(3), type: "float" } }];',
  });
  const read = (file: string) => async () => collect(await openData({ paths: [join(folder, file)] }, ROW_INPUT));
  await assertFails(read('bare.mjs'), 'data-invalid', /input "x" float32\[N,3\] cannot be filled from 4 elements/);
  await assertFails(read('dims.mjs'), 'data-invalid', /dims \[2,3\] take 6 elements .* received 5/);
  await assertFails(read('type.mjs'), 'data-invalid', /data of type float64 cannot be in a Float32Array/);
  await assertFails(read('unknown.mjs'), 'data-invalid', /type "float" .* is not an element type/);
});
