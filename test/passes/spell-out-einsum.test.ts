import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { allNodes } from '../../src/graph/traversal.js';
import { spellOutEinsum } from '../../src/passes/spell-out-einsum.js';
import { parseModel } from '../helpers/graph-text.js';
import { assertSameOutputs, feedsFor, outputsOf } from '../helpers/same-outputs.js';
import { testPass } from './pass-cases.js';

const SIZES: Readonly<Record<string, number>> = { a: 2, b: 3, c: 4, d: 5, e: 6, f: 7 };

/** A model of one Einsum whose labels have the sizes above; constant operands are named `w`. */
function einsum(equation: string, constant: 'none' | 'left' | 'right', opset = 13): string {
  const [left, right] = equation.replaceAll(' ', '').split('->')[0]!.split(',');
  const dims = (labels: string) => `[${[...labels].map((label) => SIZES[label]).join(',')}]`;
  const operand = (name: string, labels: string, isConstant: boolean) => (isConstant ? `const ${name} float32${dims(labels)} ~1` : `input ${name} float32${dims(labels)}`);
  return `opset ${opset}\n${operand('x', left!, constant === 'left')}\n${operand('w', right!, constant === 'right')}\nproduct: y = Einsum(x, w) equation="${equation}"\noutput y`;
}

describe('spellOutEinsum', () => {
  testPass(spellOutEinsum, [
    {
      name: 'a matrix product is one MatMul',
      before: einsum('ab,bc->ac', 'right'),
      after: 'opset 13\ninput x float32[2,3]\nconst w float32[3,4] ~1\nproduct: y = MatMul(x, w)\noutput y',
      says: ['product: 1 Einsum nodes became MatMul'],
    },
    {
      name: 'heads of attention: the second operand is turned, which the runtime does in the product',
      before: einsum('abcd,abed->abce', 'none'),
      after: `
        opset 13
        input x float32[2,3,4,5]
        input w float32[2,3,6,5]
        product_transpose: y_moved = Transpose(w) perm=[0,1,3,2]
        product: y = MatMul(x, y_moved)
        output y`,
    },
    {
      name: 'groups of a linear layer',
      before: einsum('abcd,cde->abce', 'right'),
      after: `
        opset 13
        input x float32[2,3,4,5]
        const w float32[4,5,6] ~1
        product_transpose: y_moved = Transpose(x) perm=[0,2,1,3]
        product: y_product = MatMul(y_moved, w)
        product_transpose_1: y = Transpose(y_product) perm=[0,2,1,3]
        output y`,
    },
    {
      name: 'several columns are joined and put apart again',
      before: einsum('abc,cde->abde', 'right'),
      after: `
        opset 13
        input x float32[2,3,4]
        const w float32[4,5,6] ~1
        const y_shape int64[2] 0 30
        const y_shape_1 int64[4] 0 0 5 6
        product_reshape: y_joined = Reshape(w, y_shape)
        product: y_product = MatMul(x, y_joined)
        product_reshape_1: y = Reshape(y_product, y_shape_1)
        output y`,
      tolerance: 1e-6,
    },
    {
      name: 'several sums are joined',
      before: einsum('abcd,cde->abe', 'right'),
      after: `
        opset 13
        input x float32[2,3,4,5]
        const w float32[4,5,6] ~1
        const y_shape int64[3] 0 0 20
        const y_shape_1 int64[2] 20 6
        product_reshape: y_joined = Reshape(x, y_shape)
        product_reshape_1: y_joined_1 = Reshape(w, y_shape_1)
        product: y = MatMul(y_joined, y_joined_1)
        output y`,
      tolerance: 1e-6,
    },
    { name: 'a sum over one operand alone', before: einsum('abc,bd->ad', 'right') },
    { name: 'a product without a sum', before: einsum('ab,cd->abcd', 'none') },
    { name: 'a product with a vector', before: einsum('ab,b->a', 'none') },
    { name: 'columns of unknown sizes', before: einsum('abc,cde->abde', 'none') },
    { name: 'an ellipsis', before: einsum('ab,bc->ac', 'right').replace('"ab,bc->ac"', '"...b,bc->...c"') },
    { name: 'one operand', before: 'input x float32[2,3]\ny = Einsum(x) equation="ab->ba"\noutput y' },
    { name: 'a diagonal', before: 'input x float32[3,3]\nconst w float32[3,4] ~1\ny = Einsum(x, w) equation="aa,ac->c"\noutput y' },
    { name: 'an axis of size 1 that Einsum repeats', before: 'input x float32[2,3]\nconst w float32[1,4] ~1\ny = Einsum(x, w) equation="ab,bc->ac"\noutput y' },
  ]);

  const EQUATIONS = ['ab,cb->ac', 'ab, bc', 'ba,bc->ca', 'abc,cd->dab', 'acb,cd->abd', 'abc,acd->abd', 'abc,adc->adb', 'bca,cd->abd', 'abcd,ed->abce', 'abcd,abde->aceb', 'abcd,bde->abce', 'abcd,cde->abce', 'abcd,ade->abce', 'cab,abd->dcb'];
  const WITH_WEIGHT = ['abc,dce->abde', 'abcd,dce->eab', 'abcd,bedf->abcef', 'abcd,cdbe->abe', 'abcd,acde->abe'];
  for (const constant of ['none', 'left', 'right'] as const) {
    for (const opset of [12, 13]) {
      test(`every order of axes gives the same numbers (constant operand: ${constant}, operator set ${opset})`, async () => {
        const equations = [...EQUATIONS, ...(constant === 'right' ? WITH_WEIGHT : constant === 'left' ? WITH_WEIGHT.map(turned) : [])];
        for (const equation of equations) {
          const model = parseModel(einsum(equation, constant, opset));
          const { model: spelled } = spellOutEinsum(model);
          assert.deepEqual(checkGraph(spelled.graph), [], equation);
          assert.ok(!spelled.graph.nodes.some(({ opType }) => opType === 'Einsum'), equation);
          const feeds = feedsFor(model);
          assertSameOutputs(await outputsOf(spelled, feeds), await outputsOf(model, feeds), 1e-5);
        }
      });
    }
  }

  test('a node in a body', () => {
    const model = parseModel(`
      input c bool[]
      input x float32[2,3]
      const w float32[3,4] ~1
      y = If(c)
        then_branch:
          a = Einsum(x, w) equation="ij,jk->ki"
          output a
        else_branch:
          b = Einsum(x, w) equation="ij,jk->ki"
          output b
      output y`);
    const { model: spelled, changes } = spellOutEinsum(model);
    assert.deepEqual(checkGraph(spelled.graph), []);
    assert.deepEqual([...allNodes(spelled.graph)].map(({ opType }) => opType).sort(), ['If', 'MatMul', 'MatMul', 'Transpose', 'Transpose', 'Transpose', 'Transpose'].sort());
    assert.deepEqual(changes.map(({ names }) => names), [['a', 'b']]);
  });
});

/** The same product with its operands in the other order. */
function turned(equation: string): string {
  const [operands, output] = equation.split('->');
  return `${operands!.split(',').reverse().join(',')}->${output}`;
}
