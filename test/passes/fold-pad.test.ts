import { describe } from 'node:test';
import { foldPad } from '../../src/passes/fold-pad.js';
import { testPass } from './pass-cases.js';

const tolerance = 1e-5;

const lines = (text: string): string => text.trim().split('\n').map((line) => `  ${line.trim()}`).join('\n');

const model = (nodes: string, pads = '0 0 0 1 0 0 2 1', more = ''): string => lines(`
  opset 13
  input x float32[1,2,4,4]
  const pads int64[8] ${pads}
  const w float32[2,2,2,2] 1 -2 3 4 0.5 6 -7 8 9 1 2 -3 4 5 -6 7${more && `\n${more}`}
  ${nodes}
  output y`);

const after = (nodes: string): string => lines(`
  opset 13
  input x float32[1,2,4,4]
  const w float32[2,2,2,2] 1 -2 3 4 0.5 6 -7 8 9 1 2 -3 4 5 -6 7
  ${nodes}
  output y`);

describe('foldPad: what it folds', () => {
  testPass(foldPad, [
    {
      name: 'zeros on some sides',
      before: model('pad: p = Pad(x, pads)\ny = Conv(p, w)'),
      after: after('y = Conv(x, w) pads=[0,1,2,1]'),
      says: ['pad: 1 Pad nodes became pads of the convolutions after them'],
      tolerance,
    },
    {
      name: 'beside pads of the convolution, whose other attributes stay',
      before: model('pad: p = Pad(x, pads, zero)\ny = Conv(p, w) pads=[1,1,0,0] strides=[2,1]', undefined, 'const zero float32[] 0'),
      after: after('y = Conv(x, w) pads=[1,2,2,1] strides=[2,1]'),
      tolerance,
    },
    {
      name: 'for several convolutions',
      before: model('p = Pad(x, pads)\na = Conv(p, w) auto_pad="VALID"\nb = Conv(p, w)\ny = Add(a, b)'),
      after: after('a = Conv(x, w) pads=[0,1,2,1]\nb = Conv(x, w) pads=[0,1,2,1]\ny = Add(a, b)'),
      tolerance,
    },
  ]);
});

describe('foldPad: what it leaves alone', () => {
  const same = (name: string, before: string) => ({ name, before });
  testPass(foldPad, [
    same('other fillings', model('p = Pad(x, pads, one)\ny = Conv(p, w)', undefined, 'const one float32[] 1')),
    same('reflections', model('p = Pad(x, pads) mode="reflect"\ny = Conv(p, w)', '0 0 0 1 0 0 1 1')),
    same('zeros in other axes, and what cuts off', model('p = Pad(x, pads)\ny = Conv(p, w) group=1', '0 0 -1 1 0 0 0 1')),
    same('more channels', model('p = Pad(x, pads)\ny = Conv(p, v)', '0 1 0 0 0 0 0 0', 'const v float32[1,3,1,1] 1 2 3')),
    same('other readers', model('p = Pad(x, pads)\na = Conv(p, w)\nb = MaxPool(p) kernel_shape=[2,2]\ny = Add(a, b)')),
    same('a convolution that pads to the same size', model('p = Pad(x, pads)\ny = Conv(p, w) auto_pad="SAME_UPPER"')),
  ]);
});
