import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { QdqError } from '../../src/errors.js';
import { ADAPTERS } from '../../src/passes/opset-adapters.js';
import { upgradeOpset, upgradeTowards } from '../../src/passes/upgrade-opset.js';
import { parseModel, printModel } from '../helpers/graph-text.js';
import { assertSameOutputs, feedsFor, outputsOf } from '../helpers/same-outputs.js';

describe('upgradeOpset keeps meaning where no row says otherwise', () => {
  const models: Readonly<Record<string, string>> = {
    'AveragePool, SAME_UPPER': 'opset 7\ninput x float32[1,2,5,5]\ny = AveragePool(x) kernel_shape=[2,2] auto_pad="SAME_UPPER" count_include_pad=1\noutput y',
    'MaxPool, SAME_LOWER': 'opset 7\ninput x float32[1,2,5,5]\ny = MaxPool(x) kernel_shape=[2,2] auto_pad="SAME_LOWER"\noutput y',
    'ConvTranspose, SAME_UPPER': 'opset 7\ninput x float32[1,1,3,3]\nconst w float32[1,1,3,3] ~1\ny = ConvTranspose(x, w) auto_pad="SAME_UPPER" strides=[2,2]\noutput y',
    'ConvTranspose, SAME_LOWER': 'opset 7\ninput x float32[1,1,3,3]\nconst w float32[1,1,3,3] ~1\ny = ConvTranspose(x, w) auto_pad="SAME_LOWER" strides=[2,2] output_shape=[5,5]\noutput y',
    'OneHot of a negative index': 'opset 9\ninput x float32[2]\nconst i int64[3] -1 1 7\nconst d int64[] 3\nconst v float32[2] 0 1\ny = OneHot(i, d, v)\nz = Neg(x)\noutput y\noutput z',
    ArgMax: 'opset 7\ninput x float32[2,3]\ny = ArgMax(x) axis=1 keepdims=0\noutput y',
    PRelu: 'opset 7\ninput x float32[2,3,2,2]\nconst s float32[3,1,1] 1 2 3\ny = PRelu(x, s)\noutput y',
    'Sum, Mean and Max': 'opset 7\ninput x float32[2,3]\na = Sum(x, x)\nb = Mean(a, x)\ny = Max(a, b)\noutput y',
    DepthToSpace: 'opset 7\ninput x float32[1,4,2,2]\ny = DepthToSpace(x) blocksize=2\noutput y',
    LSTM: 'opset 7\ninput x float32[4,1,2]\nconst w float32[1,8,2] ~1\nconst r float32[1,8,2] ~2\ny, h = LSTM(x, w, r) hidden_size=2\noutput y\noutput h',
    ConstantOfShape: 'opset 9\ninput x float32[2]\ns = Shape(x)\ny = ConstantOfShape(s)\noutput y',
    'LRN and InstanceNormalization': 'opset 7\ninput x float32[1,2,3,3]\nconst k float32[2] 1 2\na = LRN(x) size=3\ny = InstanceNormalization(a, k, k)\noutput y',
    'Flatten, Gemm and Cast': 'opset 7\ninput x float32[2,3]\nconst w float32[3,2] 1 2 3 4 5 6\nconst c float32[2] 1 2\nf = Flatten(x)\na = Gemm(f, w, c)\ny = Cast(a) to=11\noutput y',
    'ReduceMax and ReduceMean': 'opset 7\ninput x float32[2,3]\na = ReduceMax(x) axes=[1]\ny = ReduceMean(a) axes=[0]\noutput y',
    'Where and NonZero': 'opset 9\ninput x float32[2]\ninput c bool[2]\ny = Where(c, x, x)\nz = NonZero(x)\noutput y\noutput z',
  };
  for (const [name, text] of Object.entries(models)) {
    test(name, async () => {
      const model = parseModel(text);
      const { model: raised } = upgradeOpset(model, 13);
      assert.equal(raised.opsets.get(''), 13);
      assertSameOutputs(await outputsOf(raised, feedsFor(model)), await outputsOf(model));
    });
  }
});

describe('upgradeOpset', () => {
  const refuses = (name: string, text: string, version: number, message: RegExp) => {
    test(name, () => {
      assert.throws(
        () => upgradeOpset(parseModel(text), version),
        (error: unknown) => error instanceof QdqError && error.code === 'opset-unsupported' && message.test(error.message) && error.hint !== undefined,
      );
    });
  };
  refuses('names an operator set that is too old', 'opset 6\ninput x float32[2]\ny = Neg(x)\noutput y', 13, /^the model uses ONNX operator set 6; qdq reads 7 and later$/);
  refuses('refuses Scan with its batch dimension', 'opset 8\ninput x float32[2]\nscan: y = Scan(x)\noutput y', 9, /^Scan "scan" cannot be raised to ONNX operator set 9: its batch/);
  refuses('refuses statistics for each position', 'opset 8\ninput x float32[1,1,2,2]\nbn: y = BatchNormalization(x, x, x, x, x) spatial=0\noutput y', 9, /"bn".*spatial = 0/);
  refuses('refuses a mask that is read', 'opset 9\ninput x float32[2]\na, m = Dropout(x)\ny = Mul(x, m)\noutput y', 10, /^Dropout "a" .*mask/);
  refuses('refuses a mask that is an output', 'opset 9\ninput x float32[2]\na, m = Dropout(x)\noutput m', 10, /^Dropout "a" .*mask/);
  refuses('refuses it where it was boolean already', 'opset 10\ninput x float32[2]\na, m = Dropout(x)\noutput m', 12, /^Dropout "a" .*mask/);
  refuses('refuses Upsample without scales', 'opset 8\ninput x float32[1,1,2,2]\ny = Upsample(x)\noutput y', 9, /"y" .* it has no scales$/);
  refuses('refuses nearest Resize in both directions', 'opset 10\ninput x float32[1,1,7,7]\nconst s float32[4] 1 1 0.6 1.5\ny = Resize(x, s)\noutput y', 11, /shrinks one axis and enlarges another$/);

  refuses('refuses statistics of training that are read', 'opset 9\ninput x float32[1,1,2,2]\nconst k float32[1] 1\nbn: y, m, v, s, t = BatchNormalization(x, k, k, k, k)\noutput y\noutput m', 14, /"bn".*statistics of training/);
  refuses('refuses group normalization', 'opset 18\ninput x float32[1,2,2,2]\nconst k float32[1] 1\ngn: y = GroupNormalization(x, k, k) num_groups=1\noutput y', 21, /"gn".*one a group/);

  test('drops statistics of training that nothing reads', () => {
    const { model } = upgradeOpset(parseModel('opset 9\ninput x float32[1,1,2,2]\nconst k float32[1] 1\ny, m, v, s, t = BatchNormalization(x, k, k, k, k)\noutput y'), 14);
    assert.deepEqual(model.graph.nodes[0]!.outputs, ['y']);
  });

  test('leaves a model of that operator set, or of a later one, alone', () => {
    const model = parseModel('opset 13\ninput x float32[2]\ny = Neg(x)\noutput y');
    assert.deepEqual(upgradeOpset(model, 12), { model, changes: [] });
  });

  test('raises other operator sets not at all', () => {
    const model = parseModel('ir 3\nopset 8\nopset com.microsoft 1\ninput x float32[2]\ny = com.microsoft::Clip(x) min=0.0\noutput y');
    assert.equal(printModel(upgradeOpset(model, 12).model), 'ir 7\nopset 12\nopset com.microsoft 1\ninput x float32[2]\ny = com.microsoft::Clip(x) min=0.0\noutput y');
  });

  test('counts a node that is rewritten twice once', () => {
    const model = parseModel('opset 8\ninput x float32[1,1,2,2]\nup: y = Upsample(x) scales=[1.0,1.0,2.0,2.0]\noutput y');
    const [change] = upgradeOpset(model, 11).changes;
    assert.deepEqual([change!.names, change!.message], [['up'], 'operator set raised from 8 to 11; 1 nodes rewritten for it']);
  });

  test('the table is in order of version', () => {
    const versions = ADAPTERS.map((adapter) => adapter.version);
    assert.deepEqual(versions, versions.toSorted((a, b) => a - b));
  });
});

describe('upgradeTowards goes as far as the operators let', () => {
  const to12 = (text: string) => upgradeTowards(parseModel(text), 12);

  test('and names the one in the way', () => {
    const { model, changes } = to12('opset 8\ninput x float32[1,1,7,7]\nconst s float32[4] 1 1 0.6 1.5\nr: y = Upsample(x) scales=[1.0,1.0,0.6,1.5]\noutput y');
    assert.equal(model.opsets.get(''), 10);
    assert.deepEqual(model.graph.nodes.map(({ opType }) => opType), ['Resize']);
    assert.match(changes.at(-1)!.message, /^operator set 12 was not reached: Resize "r" cannot be raised to ONNX operator set 11: it shrinks/);
  });

  test('which may be nowhere', () => {
    const model = parseModel('opset 8\ninput x float32[2]\nscan: y = Scan(x)\noutput y');
    const { model: same, changes } = upgradeTowards(model, 12);
    assert.equal(same, model);
    assert.match(changes[0]!.message, /not reached: Scan "scan"/);
  });

  test('all the way where it can', () => {
    assert.equal(to12('opset 8\ninput x float32[2]\ny = Neg(x)\noutput y').model.opsets.get(''), 12);
  });
});
