import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { orderNodes } from '../../src/passes/order-nodes.js';
import { parseModel } from '../helpers/graph-text.js';

describe('nodes in another order', () => {
  test('are put in order, in bodies and with what bodies read', () => {
    const model = parseModel(`
      input x float32[2]
      input c bool[]
      y = If(c)
        then_branch:
          u = Neg(t)
          t = Abs(a)
          output u
        else_branch:
          e = Neg(x)
          output e
      a = Exp(x)
      output y`);
    const { model: result, changes } = orderNodes(model);
    assert.deepEqual(changes.map(({ names }) => names), [['then_branch', 'main']]);
    assert.deepEqual(result.graph.nodes.map(({ opType }) => opType), ['Exp', 'If']);
    const body = result.graph.nodes[1]!.attributes.get('then_branch');
    assert.deepEqual(body?.kind === 'graph' && body.value.nodes.map(({ opType }) => opType), ['Abs', 'Neg']);
    assert.equal(orderNodes(result).model, result);
  });
});

describe('graphs that cannot be put in order', () => {
  for (const [what, text, message] of [
    ['a circle', 'input x float32[2]\na = Add(x, b)\nb = Neg(a)\noutput b', /cycle through/],
    ['a circle through a body', 'input c bool[]\nb = If(c)\n  then_branch:\n    t = Neg(b)\n    output t\n  else_branch:\n    e = Neg(b)\n    output e\noutput b', /cycle through/],
    ['a value made twice', 'input x float32[2]\na = Neg(x)\na = Abs(x)\noutput a', /"a" is made by Abs "a" and by something else/],
    ['an input that a node makes', 'input x float32[2]\nx = Neg(x)\noutput x', /"x" is made by/],
    ['an input listed twice', 'input x float32[2]\ninput x float32[2]\ny = Neg(x)\noutput y', /the input "x" is listed twice/],
    ['a value that nothing makes', 'input x float32[2]\ny = Add(x, gone)\noutput y', /reads "gone", which nothing makes/],
    ['an output that nothing makes', 'input x float32[2]\ny = Neg(x)\noutput gone', /nothing makes the output "gone"/],
  ] as const) {
    test(what, () => assert.throws(() => orderNodes(parseModel(text)), { code: 'model-invalid', message }));
  }
});
