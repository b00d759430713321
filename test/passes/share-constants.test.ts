import { describe } from 'node:test';
import { shareConstants } from '../../src/passes/share-constants.js';
import { testPass } from './pass-cases.js';

const branches = (thenWeight: string, elseWeight: string, names: readonly [string, string], outside = '') => `
  ir 8
  opset 13
  input x float32[2,16]
  input c bool[]
${outside}
  y = If(c)
    then_branch:
${thenWeight}
      t = MatMul(x, ${names[0]})
      output t float32[2,16]
    else_branch:
${elseWeight}
      m = MatMul(x, ${names[1]})
      e = Relu(m)
      output e float32[2,16]
  output y float32[2,16]`;

describe('constants of bodies', () => {
  testPass(shareConstants, [
    {
      name: 'are stored once where several bodies hold the same',
      before: branches('      const w float32[16,16] ~1', '      const v float32[16,16] ~1', ['w', 'v']),
      after: branches('', '', ['w_shared', 'w_shared'], '  const w_shared float32[16,16] ~1'),
      says: ['w_shared: 1 constants that several bodies held are stored once'],
    },
    { name: 'stay where they differ', before: branches('      const w float32[16,16] ~1', '      const v float32[16,16] ~2', ['w', 'v']) },
    { name: 'stay where they are small', before: branches('      const w float32[16,1] ~1', '      const v float32[16,1] ~1', ['w', 'v']).replaceAll('float32[2,16]\n    else', 'float32[2,1]\n    else').replaceAll('output e float32[2,16]', 'output e float32[2,1]').replace('output y float32[2,16]', 'output y float32[2,1]') },
  ]);
});
