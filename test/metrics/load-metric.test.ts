import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadMetric } from '../../src/metrics/load-metric.js';
import { floats, longs, strings } from './tensors.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-metric-'));
after(() => rmSync(folder, { recursive: true }));

function moduleWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('loadMetric: built-in names', async () => {
  assert.equal((await loadMetric('top5')).name, 'top5');
  await assert.rejects(loadMetric('top9'), { code: 'usage', message: /unknown metric "top9"/ });
});

test('loadMetric: a function is averaged over the samples and named after its file', async () => {
  const path = moduleWith(
    'abs-error.mjs',
    'export const higherIsBetter = false;\nexport default (outputs, label) => Math.abs(outputs.y.data[0] - label);',
  );
  const definition = await loadMetric(path);
  assert.deepEqual([definition.name, definition.higherIsBetter], ['abs-error', false]);
  const metric = definition.create();
  metric.add({ y: floats([], [5]) }, 4, 'a');
  metric.add({ y: floats([], [5]) }, 8, 'b');
  assert.deepEqual(metric.result(), { metric: 'abs-error', value: 2, samples: 2 });
  assert.deepEqual(definition.create().result(), { metric: 'abs-error', value: null, samples: 0 });
});

test('loadMetric: a function sees types, shapes, plain numbers and strings, the label and the sample', async () => {
  const path = moduleWith(
    'sees.mjs',
    `export default ({ ids, words }, label, sample) =>
      ids.type === 'int64' && ids.dims.join() === '1,2' && ids.data[1] === 7 && words.data[0] === 'cat' &&
      label.boxes === 3 && sample === 'a' ? 1 : 0;`,
  );
  const metric = (await loadMetric(path)).create();
  metric.add({ ids: longs([1, 2], [6, 7]), words: strings(['cat']) }, { boxes: 3 }, 'a');
  assert.equal(metric.result().value, 1);
});

test('loadMetric: a factory keeps a state of its own for each model', async () => {
  const path = moduleWith(
    'largest.mjs',
    `export default { name: 'largest', higherIsBetter: false, create() {
      let largest = -Infinity;
      return { add(outputs) { largest = Math.max(largest, ...outputs.y.data); }, result: () => largest };
    } };`,
  );
  const definition = await loadMetric(path);
  assert.deepEqual([definition.name, definition.higherIsBetter], ['largest', false]);
  const [one, other] = [definition.create(), definition.create()];
  one.add({ y: floats([2], [1, 9]) }, undefined, 'a');
  other.add({ y: floats([2], [1, 2]) }, undefined, 'a');
  assert.deepEqual(one.result(), { metric: 'largest', value: 9, samples: 1 });
  assert.deepEqual(other.result(), { metric: 'largest', value: 2, samples: 1 });
  assert.deepEqual(definition.create().result(), { metric: 'largest', value: null, samples: 0 });
});

test('loadMetric: a value that is no finite number is null', async () => {
  const metric = (await loadMetric(moduleWith('nan.mjs', 'export default () => NaN;'))).create();
  metric.add({}, 0, 'a');
  assert.deepEqual(metric.result(), { metric: 'nan', value: null, samples: 1 });
});

test('loadMetric: wrong forms are named', async () => {
  const forms: readonly [string, string, RegExp][] = [
    ['no-default.mjs', 'export const score = () => 1;', /expected a function or an object with create\(\) as default export, received nothing/],
    ['number.mjs', 'export default 3;', /received a number/],
    ['shared.mjs', 'export default { add() {}, result: () => 1 };', /has add\(\) but no create\(\)/],
    ['better.mjs', 'export const higherIsBetter = "no"; export default () => 1;', /expected true or false as higherIsBetter, received a string/],
    ['name.mjs', 'export default { name: 3, create: () => ({}) };', /expected a text as name, received a number/],
  ];
  for (const [name, text, message] of forms) {
    await assert.rejects(loadMetric(moduleWith(name, text)), { name: 'QdqError', code: 'usage', message });
  }
});

test('loadMetric: missing and broken modules', async () => {
  await assert.rejects(loadMetric(join(folder, 'none.mjs')), { code: 'file-not-found', message: /there is no file/ });
  await assert.rejects(loadMetric(moduleWith('broken.mjs', 'export default (')), { code: 'file-unreadable', message: /does not load/ });
  await assert.rejects(loadMetric(moduleWith('throws.mjs', 'throw new Error("at load")')), { message: /does not load: at load/ });
});

test('loadMetric: what goes wrong inside a metric says which metric and sample', async () => {
  const failures: readonly [string, string, RegExp][] = [
    ['throws-later.mjs', 'export default (outputs) => outputs.none.data[0];', /metric throws-later failed on sample "cat": Cannot read/],
    ['text.mjs', 'export default () => "1";', /metric text failed on sample "cat": expected a number, received a string/],
    ['promise.mjs', 'export default async () => 1;', /expected a number, received a promise/],
    ['big.mjs', 'export default () => 1n;', /received the bigint 1n/],
    ['async-add.mjs', 'export default { create: () => ({ async add() {}, result: () => 1 }) };', /add\(\) must not be asynchronous/],
  ];
  for (const [name, text, message] of failures) {
    const metric = (await loadMetric(moduleWith(name, text))).create();
    assert.throws(() => metric.add({}, 0, 'cat'), { name: 'QdqError', code: 'data-invalid', message });
  }
  const empty = await loadMetric(moduleWith('empty.mjs', 'export default { create: () => ({}) };'));
  assert.throws(() => empty.create(), /metric empty failed in create\(\): expected an object with add\(\) and result\(\)/);
});
