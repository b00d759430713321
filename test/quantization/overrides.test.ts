import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { readOverrides } from '../../src/quantization/overrides.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const GOOD: readonly [string, string, object][] = [
  ['ranges and float', '{ "ranges": { "x": [-1, 2.5], "y": [0, 0] }, "float": ["conv*"] }', { ranges: { x: [-1, 2.5], y: [0, 0] }, float: ['conv*'], dynamic: [], static: [] }],
  ['ranges only', '{ "ranges": { "x": [0, 1] } }', { ranges: { x: [0, 1] }, float: [], dynamic: [], static: [] }],
  ['float only', '{ "float": ["a", "b"] }', { ranges: {}, float: ['a', 'b'], dynamic: [], static: [] }],
  ['dynamic and static', '{ "dynamic": ["a*"], "static": ["b"] }', { ranges: {}, float: [], dynamic: ['a*'], static: ['b'] }],
  ['nothing', '{}', { ranges: {}, float: [], dynamic: [], static: [] }],
];

const BAD: readonly [string, string, RegExp][] = [
  ['no JSON', '{ ranges: 1 }', /is not JSON/],
  ['an empty file', '', /is not JSON/],
  ['a list', '[1, 2]', /holds no object/],
  ['null', 'null', /holds no object/],
  ['a number', '5', /holds no object/],
  ['an unknown field', '{ "range": {} }', /unknown field "range"/],
  ['a range of one number', '{ "ranges": { "x": [1] } }', /"ranges" must map/],
  ['a range of three numbers', '{ "ranges": { "x": [1, 2, 3] } }', /"ranges" must map/],
  ['a range upside down', '{ "ranges": { "x": [2, 1] } }', /"ranges" must map/],
  ['a range of text', '{ "ranges": { "x": ["0", "1"] } }', /"ranges" must map/],
  ['a range beyond double', '{ "ranges": { "x": [0, 1e999] } }', /"ranges" must map/],
  ['null in a range', '{ "ranges": { "x": [null, 1] } }', /"ranges" must map/],
  ['ranges as a list', '{ "ranges": [[0, 1]] }', /"ranges" must map/],
  ['float as text', '{ "float": "conv" }', /"float" must list/],
  ['float with a number', '{ "float": [1] }', /"float" must list/],
  ['dynamic with a number', '{ "dynamic": [1] }', /"dynamic" must list/],
];

describe('readOverrides', () => {
  for (const [name, text, expected] of GOOD) {
    test(`reads ${name}`, async (t) => {
      const path = join(temporaryFolder(t), 'overrides.json');
      writeFileSync(path, text);
      assert.deepEqual(await readOverrides(path), expected);
    });
  }

  for (const [name, text, message] of BAD) {
    test(`refuses ${name}, naming the file and the form`, async (t) => {
      const path = join(temporaryFolder(t), 'overrides.json');
      writeFileSync(path, text);
      await assert.rejects(readOverrides(path), (error) => {
        assert.ok(error instanceof QdqError);
        assert.equal(error.code, 'usage');
        assert.match(error.message, message);
        assert.ok(error.message.startsWith(path));
        assert.match(error.hint ?? '', /Expected \{ "ranges"/);
        return true;
      });
    });
  }

  test('a file that is not there, and a folder', async (t) => {
    const folder = temporaryFolder(t);
    mkdirSync(join(folder, 'folder.json'));
    for (const name of ['none.json', 'folder.json']) {
      await assert.rejects(readOverrides(join(folder, name)), (error) => error instanceof QdqError && error.code === 'file-not-found' && error.message.includes(name));
    }
  });
});
