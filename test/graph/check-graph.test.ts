import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkGraph } from '../../src/graph/check-graph.js';
import { readModel } from '../../src/onnx/read-model.js';
import { parseModel } from '../helpers/graph-text.js';
import { sampleModels, sharedModels } from '../helpers/shared-models.js';

const CASES: readonly (readonly [string, string, readonly string[]])[] = [
  ['a valid graph', 'input x float32[2]\nconst w float32[2] 1 2\na = Add(x, w)\ny = Clip(a, , w)\noutput y', []],
  ['a constant that is an input too', 'input x float32[2]\ninput w float32[2]\nconst w float32[2] 1 2\ny = Add(x, w)\noutput y', []],
  ['an input, a constant and a sparse constant as outputs', 'input x float32[2]\nconst w float32[2] 1 2\nsparse s\noutput x\noutput w\noutput s', []],
  ['several absent outputs', 'input x float32[2]\n, , y = LSTM(x, x, x)\n, , z = LSTM(x, x, x)\noutput y\noutput z', []],
  ['two producers', 'input x float32[2]\na: y = Neg(x)\nb: y = Abs(x)\noutput y', ['"y" is made by Neg "a" and by Abs "b"']],
  ['a node that makes an input', 'input x float32[2]\nx = Neg(x)\noutput x', ['"x" is made by a graph input and by Neg "x"', 'the graph has a cycle through Neg "" (value "x")']],
  ['a node that makes a constant', 'input x float32[2]\nconst w float32[1] 1\nw = Neg(x)\noutput w', ['"w" is made by a constant and by Neg "w"']],
  ['one node that makes a value twice', 'input x float32[2]\nn: a, a = Split(x)\noutput a', ['"a" is made by Split "n" and by Split "n"']],
  ['an undefined value', 'input x float32[2]\nn: y = Add(x, gone)\noutput y', ['Add "n" reads "gone", which nothing before it makes']],
  ['an undefined output', 'input x float32[2]\ny = Neg(x)\noutput z', ['nothing makes the output "z"']],
  ['nodes out of order', 'input x float32[2]\ny = Neg(a)\na = Abs(x)\noutput y', ['Neg "y" reads "a", which nothing before it makes']],
  [
    'a cycle',
    'input x float32[2]\nm: a = Add(x, b)\nn: b = Neg(a)\noutput b',
    ['Add "m" reads "b", which nothing before it makes', 'the graph has a cycle through Add "m" (value "a")'],
  ],
  ['an input listed twice', 'input x float32[2]\ninput x float32[2]\ny = Neg(x)\noutput y', ['the input "x" is listed twice']],
  ['an output listed twice', 'input x float32[2]\ny = Neg(x)\noutput y\noutput y', ['the output "y" is listed twice']],
  [
    'a body that captures what is ready',
    'input x float32[2]\ninput c bool[]\na = Neg(x)\ny = If(c)\n  then_branch:\n    t = Abs(a)\n    output t\n  else_branch:\n    e = Abs(x)\n    output e\noutput y',
    [],
  ],
  [
    'branches that use the same names',
    'input x float32[2]\ninput c bool[]\ny = If(c)\n  then_branch:\n    t = Abs(x)\n    output t\n  else_branch:\n    t = Neg(x)\n    output t\noutput y',
    [],
  ],
  [
    'a body that reads what comes later',
    'input x float32[2]\ninput c bool[]\ni: y = If(c)\n  then_branch:\n    t = Abs(a)\n    output t\n  else_branch:\n    e = Abs(x)\n    output e\na = Neg(x)\noutput y',
    ['in a body of If "i": Abs "t" reads "a", which nothing before it makes'],
  ],
  [
    'a body that makes a value of the graph around, or reads what its own node makes',
    'input x float32[2]\ninput c bool[]\na = Neg(x)\ni: y = If(c)\n  then_branch:\n    a = Abs(x)\n    output a\n  else_branch:\n    e = Abs(y)\n    output e\noutput y',
    [
      'in a body of If "i": "a" is made by the graph around and by Abs "a"',
      'in a body of If "i": Abs "e" reads "y", which nothing before it makes',
      'the graph has a cycle through If "i" (value "y")',
    ],
  ],
  [
    'bodies of bodies',
    'input x float32[2]\ninput c bool[]\ni: y = If(c)\n  then_branch:\n    j: t = If(c)\n      then_branch:\n        u = Abs(gone)\n        output u\n      else_branch:\n        v = Abs(x)\n        output w\n    output t\n  else_branch:\n    e = Abs(x)\n    output e\noutput y',
    ['in a body of If "i": in a body of If "j": Abs "u" reads "gone", which nothing before it makes', 'in a body of If "i": in a body of If "j": nothing makes the output "w"'],
  ],
];

describe('checkGraph', () => {
  for (const [name, text, problems] of CASES) {
    test(name, () => assert.deepEqual(checkGraph(parseModel(text).graph), problems));
  }

  for (const { name, path } of [...sampleModels(), ...sharedModels()]) {
    test(`finds nothing in ${name}`, async () => assert.deepEqual(checkGraph((await readModel(path)).graph), []));
  }
});
