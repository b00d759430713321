import { describe } from 'node:test';
import type { ValueType } from '../../src/graph/model.js';
import { foldShapes } from '../../src/passes/fold-shapes.js';
import { testPass } from './pass-cases.js';

const types = new Map<string, ValueType>([
  ['x', { kind: 'tensor', dtype: 'float32', shape: ['N', 4, 5] }],
  ['k', { kind: 'tensor', dtype: 'float32', shape: [3, 2] }],
  ['u', { kind: 'tensor', dtype: 'float32' }],
]);

describe('sizes that the runtime has worked out', () => {
  testPass((model) => foldShapes(model, types), [
    {
      name: 'are stored: whole shapes, ranks, single dimensions and parts of a shape',
      before: `
  opset 15
  input x float32[N,4,5]
  input k float32[3,2]
  const last int64[] -1
  const both int64[2] 1 2
  s = Shape(x)
  d = Gather(s, last)
  e = Gather(s, both)
  r = Size(s)
  t = Shape(k)
  p = Shape(x) start=-2
  a = Neg(d)
  b = Neg(e)
  c = Neg(r)
  f = Neg(t)
  g = Neg(p)
  output a int64[]
  output b int64[2]
  output c int64[]
  output f int64[2]
  output g int64[2]`,
      after: `
  opset 15
  input x float32[N,4,5]
  input k float32[3,2]
  const d int64[] 5
  const e int64[2] 4 5
  const r int64[] 3
  const t int64[2] 3 2
  const p int64[2] 4 5
  s = Shape(x)
  a = Neg(d)
  b = Neg(e)
  c = Neg(r)
  f = Neg(t)
  g = Neg(p)
  output a int64[]
  output b int64[2]
  output c int64[]
  output f int64[2]
  output g int64[2]`,
    },
    {
      name: 'are left where a dimension, or the rank, is open, and where another value is asked',
      before: `
  opset 15
  input x float32[N,4,5]
  input u float32
  const first int64[] 0
  const none int64[] 7
  s = Shape(x)
  d = Gather(s, first)
  n = Gather(s, none)
  v = Shape(u)
  r = Size(v)
  z = Size(x)
  output d int64[]
  output n int64[]
  output r int64[]
  output z int64[]`,
    },
  ]);
});
