import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decidingInputs } from '../../src/passes/deciding-inputs.js';
import { parseModel } from '../helpers/graph-text.js';

const decided = (text: string) => Object.fromEntries([...decidingInputs(parseModel(`ir 8\nopset 13\ninput x float32[2,4]\n${text}`))].map(([name, nodes]) => [name, nodes.map((node) => node.outputs[0])]));

const branches = (indent: string, name: string) => `${indent}then_branch:
${indent}  ${name}_t = Relu(x)
${indent}  output ${name}_t float32[2,4]
${indent}else_branch:
${indent}  ${name}_e = Neg(x)
${indent}  output ${name}_e float32[2,4]`;

test('inputs that decide an If are found through nodes, constants and bodies', () => {
  const text = `input rate int64[]
input loud bool[1]
const k int64[] 3
c = Equal(rate, k)
y = If(c)
  then_branch:
    z = If(loud)
${branches('      ', 'z')}
    output z float32[2,4]
  else_branch:
    o = Not(c)
    w = If(o)
${branches('      ', 'w')}
    output w float32[2,4]
output y float32[2,4]`;
  assert.deepEqual(decided(text), { rate: ['y', 'w'], loud: ['z'] });
});

test('an If that a computed value decides as well is not settled by any input', () => {
  for (const condition of [
    'const z float32[] 0\ns = ReduceSum(x) keepdims=0\ng = Greater(s, z)\nc = And(g, flag)',
    'const n int64[1] 0\ns = Shape(x)\nq = Gather(s, n)\ne = Equal(q, n)\nc = And(e, flag)',
    'r = RandomNormal() shape=[1]\nb = Cast(r) to=9\nc = And(b, flag)',
    'input many bool[2]\nk = ReduceSum(x) keepdims=0\nc = And(many, flag)',
  ]) {
    assert.deepEqual(decided(`input flag bool[]\n${condition}\ny = If(c)\n${branches('  ', 'y')}\noutput y float32[2,4]`), {}, condition);
  }
});
