import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createNode } from '../../src/graph/graph-editor.js';
import { computeArithmetic, isComputeOperator, isDequantize, isIntegerKernel, isQuantize } from '../../src/runtime/kernels.js';

const node = (opType: string, accuracyLevel?: number) =>
  createNode({ name: '', opType, inputs: [], outputs: [], attributes: accuracyLevel === undefined ? {} : { accuracy_level: { kind: 'int', value: accuracyLevel } } });

describe('computeArithmetic', () => {
  const integer = ['QLinearConv', 'NhwcQLinearConv', 'ConvInteger', 'QLinearMatMul', 'MatMulInteger', 'MatMulIntegerToFloat', 'DynamicQuantizeMatMul', 'QGemm', 'DynamicQuantizeLSTM', 'QAttention'];
  const float = ['Conv', 'FusedConv', 'NhwcFusedConv', 'ConvTranspose', 'MatMul', 'FusedMatMul', 'Gemm', 'FusedGemm', 'LSTM', 'GRU', 'RNN', 'Attention', 'MultiHeadAttention'];
  const none = ['Add', 'QLinearAdd', 'Relu', 'Softmax', 'Reshape', 'QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear', 'MaxPool', 'If', 'Gelu', ''];
  for (const [expected, opTypes] of [['integer', integer], ['float', float], [undefined, none]] as const) {
    for (const opType of opTypes) {
      test(`${opType || 'nothing'} is ${expected ?? 'none'}`, () => {
        assert.equal(computeArithmetic(node(opType)), expected);
        assert.equal(isComputeOperator(opType), expected !== undefined);
      });
    }
  }

  for (const [level, expected] of [[undefined, 'float'], [0, 'float'], [1, 'float'], [2, 'float'], [3, 'float'], [4, 'integer']] as const) {
    test(`MatMulNBits at accuracy level ${level} is ${expected}`, () => assert.equal(computeArithmetic(node('MatMulNBits', level)), expected));
  }
});

describe('isIntegerKernel', () => {
  for (const opType of ['QLinearConv', 'QLinearAdd', 'QLinearSigmoid', 'QLinearGlobalAveragePool', 'QGemm', 'DynamicQuantizeLinear']) {
    test(opType, () => assert.ok(isIntegerKernel(node(opType))));
  }
  for (const opType of ['QuantizeLinear', 'DequantizeLinear', 'Conv', 'Add', 'Reshape', 'QuickGelu']) test(`not ${opType}`, () => assert.ok(!isIntegerKernel(node(opType))));
});

test('isQuantize and isDequantize know the operators of both domains', () => {
  for (const domain of ['', 'com.microsoft']) {
    assert.ok(isQuantize({ ...node('QuantizeLinear'), domain }) && !isDequantize({ ...node('QuantizeLinear'), domain }));
    assert.ok(isDequantize({ ...node('DequantizeLinear'), domain }) && !isQuantize({ ...node('DequantizeLinear'), domain }));
  }
});
