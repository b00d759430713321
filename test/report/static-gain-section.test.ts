import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { QuantizedNode } from '../../src/quantize.js';
import { selectDynamic } from '../../src/quantization/dynamic-select.js';
import { staticGainSection } from '../../src/report/static-gain-section.js';
import { parseModel } from '../helpers/graph-text.js';

/** Nodes as dynamic quantization decides about them, with its own reasons. */
function nodesOf(text: string): QuantizedNode[] {
  const choices = selectDynamic(parseModel(text).graph, new Map(), { keptFloat: () => undefined, opTypes: [] });
  return choices.map((choice) => ({ name: choice.node.name, opType: choice.node.opType, decision: choice.form ? 'quantized' : 'float', reason: choice.form ? null : choice.reason }));
}

const CONVS = `
  opset 13
  input x float32[1,3,8,8]
  input z float32[8,8]
  const w float32[3,3,1,1] ~1
  const m float32[8,8] ~2
  a = Conv(x, w)
  b = Conv(a, w)
  c = MatMul(b, z)
  d = MatMul(c, m)
  output d`;

test('what samples would add is counted, and said why convolutions are float', () => {
  const nodes = nodesOf(CONVS);
  assert.deepEqual(staticGainSection({ mode: 'dynamic', nodes }).map((block) => ('text' in block ? block.text : block.kind)), [
    'What a static plan would add',
    'With samples (--data) these can run on integers too: 2 × Conv, 1 × MatMul. Convolutions stay float here, because ConvInteger is 4 to 10 times slower than float; --op-types with Conv in it forces them.',
  ]);
  assert.deepEqual(staticGainSection({ mode: 'static', nodes }), []);
});

test('nothing is said where a static plan would add nothing', () => {
  assert.deepEqual(staticGainSection({ mode: 'dynamic', nodes: nodesOf('opset 13\ninput x float32[8,64]\nconst m float32[64,64] ~2\nd = MatMul(x, m)\noutput d') }), []);
});
