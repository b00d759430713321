import { describe } from 'node:test';
import type { Model } from '../../src/graph/model.js';
import { upgradeOpset } from '../../src/passes/upgrade-opset.js';
import { testPass, type PassCase } from './pass-cases.js';

/** `upgradeOpset` to a version. */
const to = (version: number) => (model: Model) => upgradeOpset(model, version);

/** A one-operator model before and after; the outputs in onnxruntime must be equal bit for bit. */
const row = (name: string, before: string, after: string): PassCase => ({ name, before, after });

describe('upgradeOpset to 9', () => {
  testPass(to(9), [
    row(
      'Upsample: scales become an input',
      `ir 3
       opset 7
       input x float32[1,2,3,3]
       up: y = Upsample(x) mode="nearest" scales=[1.0,1.0,2.0,3.0]
       output y`,
      `ir 4
       opset 9
       input x float32[1,2,3,3]
       const y_scales float32[4] 1 1 2 3
       up: y = Upsample(x, y_scales) mode="nearest"
       output y`,
    ),
    row(
      'BatchNormalization: spatial goes',
      `ir 3
       opset 8
       input x float32[1,2,3,3]
       const k float32[2] 1 2
       y = BatchNormalization(x, k, k, k, k) spatial=1 epsilon=0.5
       output y`,
      `ir 4
       opset 9
       input x float32[1,2,3,3]
       const k float32[2] 1 2
       y = BatchNormalization(x, k, k, k, k) epsilon=0.5
       output y`,
    ),
  ]);
});

describe('upgradeOpset to 10', () => {
  testPass(to(10), [
    row(
      'Upsample nearest becomes Resize, by way of 9',
      `opset 8
       input x float32[1,2,5,5]
       y = Upsample(x) scales=[1.0,1.0,1.5,2.7] mode="nearest"
       output y`,
      `opset 10
       input x float32[1,2,5,5]
       const y_scales float32[4] 1 1 1.5 2.7
       y = Resize(x, y_scales) mode="nearest"
       output y`,
    ),
    row(
      'Upsample linear becomes Resize',
      `opset 9
       input x float32[1,2,3,3]
       const s float32[4] 1 1 2 2
       y = Upsample(x, s) mode="linear"
       output y`,
      `opset 10
       input x float32[1,2,3,3]
       const s float32[4] 1 1 2 2
       y = Resize(x, s) mode="linear"
       output y`,
    ),
    row(
      'Slice: starts, ends and axes become inputs',
      `opset 7
       input x float32[4,3]
       y = Slice(x) axes=[1] starts=[-2] ends=[9223372036854775807]
       output y`,
      `opset 10
       input x float32[4,3]
       const y_starts int64[1] -2
       const y_ends int64[1] 9007199254740991
       const y_axes int64[1] 1
       y = Slice(x, y_starts, y_ends, y_axes)
       output y`,
    ),
    row(
      'Slice without axes',
      `opset 9
       input x float32[4,3]
       y = Slice(x) starts=[1,0] ends=[3,-1]
       output y`,
      `opset 10
       input x float32[4,3]
       const y_starts int64[2] 1 0
       const y_ends int64[2] 3 -1
       const y_axes int64[2] 0 1
       y = Slice(x, y_starts, y_ends, y_axes)
       output y`,
    ),
    row(
      'TopK: k becomes an input',
      `opset 9
       input x float32[4,3]
       v, i = TopK(x) axis=1 k=2
       output v
       output i`,
      `opset 10
       input x float32[4,3]
       const v_k int64[1] 2
       v, i = TopK(x, v_k) axis=1
       output v
       output i`,
    ),
    row(
      'Dropout: a mask that nobody reads goes, and its declared type with it',
      `opset 9
       input x float32[2,3]
       info m float32[2,3]
       a, m = Dropout(x) ratio=0.25
       y = Relu(a)
       output y`,
      `opset 10
       input x float32[2,3]
       info m float32[2,3]
       a = Dropout(x) ratio=0.25
       y = Relu(a)
       output y`,
    ),
  ]);
});

describe('upgradeOpset to 11', () => {
  const clip = (name: string, attributes: string, after: string, constants = ''): PassCase =>
    row(
      name,
      `opset 10
       input x float32[2,3]
       y = Clip(x) ${attributes}
       output y`,
      `opset 11
       input x float32[2,3]
       ${constants}
       y = ${after}
       output y`,
    );
  const resize = (name: string, mode: string, scales: string, rounding: string): PassCase =>
    row(
      name,
      `opset 10
       input x float32[1,2,7,7]
       const s float32[4] ${scales}
       y = Resize(x, s) mode="${mode}"
       output y`,
      `opset 11
       input x float32[1,2,7,7]
       const s float32[4] ${scales}
       const y_roi float32[0]
       y = Resize(x, y_roi, s) mode="${mode}" coordinate_transformation_mode="asymmetric" nearest_mode="${rounding}"
       output y`,
    );
  testPass(to(11), [
    clip('Clip: min and max become inputs', 'max=0.5 min=-0.25', 'Clip(x, y_min, y_max)', 'const y_min float32[] -0.25\n       const y_max float32[] 0.5'),
    clip('Clip with min alone', 'min=0.0', 'Clip(x, y_min)', 'const y_min float32[] 0'),
    clip('Clip with max alone', 'max=0.25', 'Clip(x, , y_max)', 'const y_max float32[] 0.25'),
    row('Clip without bounds', 'opset 10\ninput x float32[2,3]\ny = Clip(x)\noutput y', 'opset 11\ninput x float32[2,3]\ny = Clip(x)\noutput y'),
    row(
      'Pad: pads and value become inputs',
      `opset 10
       input x float32[2,3]
       y = Pad(x) pads=[0,1,0,2] value=2.5
       output y`,
      `opset 11
       input x float32[2,3]
       const y_pads int64[4] 0 1 0 2
       const y_value float32[] 2.5
       y = Pad(x, y_pads, y_value)
       output y`,
    ),
    row(
      'Pad with zeros needs no value, whatever the type',
      `opset 10
       input x float64[2,3]
       y = Pad(x) mode="constant" pads=[0,1,0,2] value=0.0
       output y`,
      `opset 11
       input x float64[2,3]
       const y_pads int64[4] 0 1 0 2
       y = Pad(x, y_pads) mode="constant"
       output y`,
    ),
    row(
      'Pad by reflection',
      `opset 7
       input x float32[2,3]
       y = Pad(x) pads=[0,1,0,2] mode="reflect"
       output y`,
      `opset 11
       input x float32[2,3]
       const y_pads int64[4] 0 1 0 2
       y = Pad(x, y_pads) mode="reflect"
       output y`,
    ),
    resize('Resize nearest, enlarging', 'nearest', '1 1 2 1.5', 'floor'),
    resize('Resize nearest, to half', 'nearest', '1 1 0.5 0.5', 'ceil'),
    resize('Resize nearest, shrinking', 'nearest', '1 1 0.6 0.4', 'ceil'),
    resize('Resize linear, enlarging', 'linear', '1 1 2 1.5', 'floor'),
    resize('Resize linear, enlarging one axis and shrinking another', 'linear', '1 1 0.6 1.5', 'ceil'),
    row(
      'Resize whose scales vary',
      `opset 10
       input x float32[1,2,7,7]
       const s float32[4] 1 1 2 2
       t = Mul(s, s)
       y = Resize(x, t)
       output y`,
      `opset 11
       input x float32[1,2,7,7]
       const s float32[4] 1 1 2 2
       const y_roi float32[0]
       t = Mul(s, s)
       y = Resize(x, y_roi, t) coordinate_transformation_mode="asymmetric" nearest_mode="floor" mode="nearest"
       output y`,
    ),
    row(
      'Scatter becomes ScatterElements',
      `opset 10
       input x float32[3,2]
       input u float32[1,2]
       const i int64[1,2] 2 0
       y = Scatter(x, i, u) axis=0
       output y`,
      `opset 11
       input x float32[3,2]
       input u float32[1,2]
       const i int64[1,2] 2 0
       y = ScatterElements(x, i, u) axis=0
       output y`,
    ),
  ]);
});

describe('upgradeOpset to 12', () => {
  testPass(to(12), [
    row(
      'Dropout: the ratio becomes an input',
      `opset 10
       input x float32[2,3]
       y, m = Dropout(x) ratio=0.25
       output y`,
      `opset 12
       input x float32[2,3]
       const y_ratio float32[] 0.25
       y = Dropout(x, y_ratio)
       output y`,
    ),
  ]);
});

describe('upgradeOpset to 13', () => {
  const axes = (opType: string, type: string, attributes: string, list: string, kept = ''): PassCase =>
    row(
      `${opType}: axes become an input`,
      `opset 11
       input x float32[${type}]
       y = ${opType}(x) axes=[${list}] ${attributes}${kept}
       output y`,
      `opset 13
       input x float32[${type}]
       const y_axes int64[${list.split(',').length}] ${list.replaceAll(',', ' ')}
       y = ${opType}(x, y_axes) ${attributes}${kept}
       output y`,
    );
  const flattened = (name: string, opType: string, dims: string, axis: string, attribute: string): PassCase =>
    row(
      name,
      `opset 11
       input x float32[${dims}]
       soft: y = ${opType}(x) ${attribute}
       output y`,
      `opset 13
       input x float32[${dims}]
       soft_shape: y_shape = Shape(x)
       soft_flatten: y_flat = Flatten(x) axis=${axis}
       soft: y_soft = ${opType}(y_flat) axis=-1
       soft_reshape: y = Reshape(y_soft, y_shape)
       output y`,
    );
  const plain = (name: string, opType: string, dims: string, before: string, after: string): PassCase =>
    row(
      name,
      `opset 11
       input x float32[${dims}]
       y = ${opType}(x) ${before}
       output y`,
      `opset 13
       input x float32[${dims}]
       y = ${opType}(x) ${after}
       output y`,
    );
  testPass(to(13), [
    axes('Squeeze', '1,3,1', '', '0,-1'),
    axes('Unsqueeze', '3', '', '0,2'),
    axes('ReduceSum', '2,3,4', 'keepdims=0', '0,2'),
    plain('Squeeze without axes', 'Squeeze', '1,3,1', '', ''),
    plain('ReduceSum without axes', 'ReduceSum', '2,3', '', ''),
    row(
      'Split: sizes become an input',
      `opset 11
       input x float32[5,2]
       a, b = Split(x) axis=0 split=[2,3]
       output a
       output b`,
      `opset 13
       input x float32[5,2]
       const a_split int64[2] 2 3
       a, b = Split(x, a_split) axis=0
       output a
       output b`,
    ),
    row(
      'Split into equal parts',
      'opset 11\ninput x float32[4,2]\na, b = Split(x) axis=0\noutput a\noutput b',
      'opset 13\ninput x float32[4,2]\na, b = Split(x) axis=0\noutput a\noutput b',
    ),
    plain('Softmax over the last of two dimensions, by default', 'Softmax', '2,3', '', 'axis=1'),
    plain('Softmax over the last dimension', 'Softmax', '2,3,4', 'axis=2', 'axis=2'),
    plain('LogSoftmax over axis −1', 'LogSoftmax', '2,3,4', 'axis=-1', 'axis=-1'),
    row(
      'Softmax over axis −1 of a value of unknown rank',
      'opset 11\ninput x float32[2,3,4]\na = Relu(x)\ny = Softmax(a) axis=-1\noutput y',
      'opset 13\ninput x float32[2,3,4]\na = Relu(x)\ny = Softmax(a) axis=-1\noutput y',
    ),
    flattened('Softmax over the rest, by default', 'Softmax', '2,3,2,2', '1', ''),
    flattened('Softmax over everything', 'Softmax', '2,3', '0', 'axis=0'),
    flattened('LogSoftmax over the rest from a negative axis', 'LogSoftmax', '2,3,2', '-2', 'axis=-2'),
    flattened('Hardmax over the rest', 'Hardmax', '2,3,2', '1', 'axis=1'),
  ]);
});

describe('upgradeOpset in bodies', () => {
  testPass(to(13), [
    row(
      'rewrites nodes there, with names that the whole model does not use, and looks up constants outside',
      `opset 10
       input x float32[1,1,4,4]
       input c bool[]
       const s float32[4] 1 1 0.5 0.5
       const t_roi float32[1] 1
       k = Mul(t_roi, x)
       y = If(c)
         then_branch:
           t = Resize(k, s)
           output t
         else_branch:
           p = Clip(k) min=0.0
           e = MaxPool(p) kernel_shape=[2,2] strides=[2,2]
           output e
       output y`,
      `opset 13
       input x float32[1,1,4,4]
       input c bool[]
       const s float32[4] 1 1 0.5 0.5
       const t_roi float32[1] 1
       k = Mul(t_roi, x)
       y = If(c)
         then_branch:
           const t_roi_1 float32[0]
           t = Resize(k, t_roi_1, s) coordinate_transformation_mode="asymmetric" nearest_mode="ceil" mode="nearest"
           output t
         else_branch:
           const p_min float32[] 0
           p = Clip(k, p_min)
           e = MaxPool(p) kernel_shape=[2,2] strides=[2,2]
           output e
       output y`,
    ),
  ]);
});
