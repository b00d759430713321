import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import { nodeFilter, type NodeFilters } from '../../src/quantization/filters.js';

const conv = createNode({ name: '/layer1/conv.0/Conv', opType: 'Conv', inputs: ['x', 'w'], outputs: ['/layer1/conv.0/out'] });
const unnamed = createNode({ name: '', opType: 'Gemm', inputs: ['x', 'w'], outputs: ['', 'logits'] });

const EXCLUDED = 'excluded by --exclude';
const NOT_INCLUDED = 'not among --include';
const OTHER_TYPE = 'its operator is not among --op-types';

const ROWS: readonly [string, NodeFilters, string | undefined][] = [
  ['no filter keeps nothing in float', {}, undefined],
  ['a whole name', { exclude: ['/layer1/conv.0/Conv'] }, EXCLUDED],
  ['part of a name is not the name', { exclude: ['/layer1', 'Conv'] }, undefined],
  ['* stands for slashes too', { exclude: ['/layer1/*'] }, EXCLUDED],
  ['* stands for nothing too', { exclude: ['/layer1/conv.0/Conv*'] }, EXCLUDED],
  ['? stands for one character', { exclude: ['/layer?/conv.?/Conv'] }, EXCLUDED],
  ['? does not stand for none', { exclude: ['/layer1/conv.0/Conv?'] }, undefined],
  ['a dot is a dot', { exclude: ['/layer1/convX0/Conv'] }, undefined],
  ['the name of an output', { exclude: ['/layer1/conv.0/out'] }, EXCLUDED],
  ['upper and lower case differ', { exclude: ['/LAYER1/*'] }, undefined],
  ['included', { include: ['/layer1/*'] }, undefined],
  ['not included', { include: ['/layer2/*', 'x'] }, NOT_INCLUDED],
  ['included and excluded', { include: ['*'], exclude: ['*Conv'] }, EXCLUDED],
  ['of a type wanted', { opTypes: ['Gemm', 'Conv'] }, undefined],
  ['of another type', { opTypes: ['Gemm'] }, OTHER_TYPE],
  ['included, but of another type', { include: ['*'], opTypes: ['conv'] }, OTHER_TYPE],
];

describe('nodeFilter', () => {
  for (const [name, filters, expected] of ROWS) test(name, () => assert.equal(nodeFilter(filters)(conv), expected));

  test('a node without a name is known by its outputs', () => {
    assert.equal(nodeFilter({ exclude: ['logits'] })(unnamed), EXCLUDED);
    assert.equal(nodeFilter({ exclude: [''] })(unnamed), undefined);
  });

  test('many stars take no time', () => {
    const node = createNode({ name: 'a'.repeat(5000), opType: 'Conv', inputs: [], outputs: ['y'] });
    const start = performance.now();
    assert.equal(nodeFilter({ exclude: [`${'*a'.repeat(60)}*b`] })(node), undefined);
    assert.equal(nodeFilter({ exclude: [`${'*a'.repeat(60)}**`] })(node), EXCLUDED);
    assert.ok(performance.now() - start < 5000);
  });

  for (const name of ['a+b', 'a(b)', 'a[0]', 'a{1,2}', '^a$', 'a|b', 'a\\b', 'a\nb', 'Grüße/層']) {
    test(`"${name.replace('\n', '\\n')}" means itself`, () => {
      const node = createNode({ name, opType: 'Conv', inputs: [], outputs: ['y'] });
      assert.equal(nodeFilter({ exclude: [name] })(node), EXCLUDED);
      assert.equal(nodeFilter({ exclude: [name] })(conv), undefined);
      assert.equal(nodeFilter({ exclude: [`${name[0]}*`] })(node), EXCLUDED);
    });
  }
});
