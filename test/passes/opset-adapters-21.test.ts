import { describe } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { upgradeOpset } from '../../src/passes/upgrade-opset.js';
import { testPass, type PassCase } from './pass-cases.js';

/** `upgradeOpset` to a version. */
const to = (version: number) => (model: Model) => upgradeOpset(model, version);

/** A one-operator model before and after; the outputs in onnxruntime must be equal bit for bit. */
const row = (name: string, before: string, after: string): PassCase => ({ name, before, after });

describe('upgradeOpset to 21', () => {
  testPass(to(21), [
    row(
      'reductions: axes become an input; equal parts of Split are asked for',
      `opset 13
       input x float32[2,4,6]
       n = Neg(x)
       m = ReduceMean(n) axes=[2] keepdims=1
       a = ReduceMax(n) keepdims=1
       l = ReduceL2(n) axes=[-1,1] keepdims=0
       p, q = Split(m) axis=1
       s = Add(p, a)
       output s
       output q
       output l`,
      `ir 10
       opset 21
       input x float32[2,4,6]
       const m_axes int64[1] 2
       const l_axes int64[2] -1 1
       n = Neg(x)
       m = ReduceMean(n, m_axes) keepdims=1
       a = ReduceMax(n) keepdims=1
       l = ReduceL2(n, l_axes) keepdims=0
       p, q = Split(m) axis=1 num_outputs=2
       s = Add(p, a)
       output s
       output q
       output l`,
    ),
    row(
      'GridSample: modes are named otherwise',
      `opset 16
       input x float32[1,2,4,4]
       input g float32[1,3,3,2]
       y = GridSample(x, g) mode="bilinear"
       z = GridSample(x, g) mode="bicubic"
       w = GridSample(x, g)
       output y
       output z
       output w`,
      `ir 10
       opset 21
       input x float32[1,2,4,4]
       input g float32[1,3,3,2]
       y = GridSample(x, g) mode="linear"
       z = GridSample(x, g) mode="cubic"
       w = GridSample(x, g)
       output y
       output z
       output w`,
    ),
    row(
      'RoiAlign: the old default is said',
      `opset 15
       input x float32[1,2,8,8]
       const rois float32[1,4] 0 0 5 5
       const batch int64[1] 0
       r = RoiAlign(x, rois, batch) output_height=2 output_width=2
       output r`,
      `ir 10
       opset 21
       input x float32[1,2,8,8]
       const rois float32[1,4] 0 0 5 5
       const batch int64[1] 0
       r = RoiAlign(x, rois, batch) output_height=2 output_width=2 coordinate_transformation_mode="output_half_pixel"
       output r`,
    ),
    row(
      'DFT: its axis becomes an input',
      `opset 17
       input x float32[1,8,4,1]
       y = DFT(x) axis=2
       z = DFT(x)
       output y
       output z`,
      `ir 10
       opset 21
       input x float32[1,8,4,1]
       const y_axis int64[] 2
       const z_axis int64[] 1
       y = DFT(x, , y_axis)
       z = DFT(x, , z_axis)
       output y
       output z`,
    ),
  ]);
});
