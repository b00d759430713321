import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { indexOf } from '../../src/graph/graph-index.js';
import type { Model, Node } from '../../src/graph/model.js';
import { decodeTensor } from '../../src/onnx/decode-tensor.js';
import { readModel } from '../../src/index.js';
import { integerLimits, quantizerOf } from '../../src/quantization/qat-quantizer.js';
import { dequantizeConstant, quantizeConstant } from '../../src/quantization/qat-weights.js';
import { affineFromRange, quantizeTensor } from '../../src/tensor/affine.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noSharedModels, sharedModelsFolder } from '../helpers/shared-models.js';

const folder = join(sharedModelsFolder, 'onnx-node-tests');
const skip = noSharedModels || (existsSync(folder) ? false : `no onnx-node-tests in ${sharedModelsFolder}`);
const cases = skip ? [] : readdirSync(folder).filter((name) => /quantizelinear/.test(name) && !name.endsWith('_expanded')).sort();

/** Types that no model of ours holds. */
const UNWRITTEN = /float|e4m3|e5m2|int2$/;

const tensorsOf = (name: string, kind: 'input' | 'output') =>
  readdirSync(join(folder, name, 'test_data_set_0'))
    .filter((file) => file.startsWith(kind))
    .sort()
    .map((file) => decodeTensor(readFileSync(join(folder, name, 'test_data_set_0', file)), file).tensor);

/** The node of a one-node model with its inputs as constants, so that it can be read as a quantizer. */
async function withConstants(name: string): Promise<{ model: Model; node: Node; inputs: Tensor[]; expected: Tensor[] }> {
  const model = await readModel(join(folder, name, 'model.onnx'));
  const [node] = model.graph.nodes;
  const inputs = tensorsOf(name, 'input');
  const given = model.graph.inputs.map((value, i): [string, Tensor] => [value.name, inputs[i]!]);
  const graph = { ...model.graph, inputs: [], initializers: new Map(given) };
  return { model: { ...model, graph }, node: node!, inputs, expected: tensorsOf(name, 'output') };
}

describe('arithmetic on the one-node tests of ONNX', { skip }, () => {
  for (const name of cases) {
    test(name, { skip: UNWRITTEN.test(name) ? 'a type that qdq does not write' : false }, async () => {
      const { model, node, inputs, expected } = await withConstants(name);
      const [wanted] = expected as [Tensor];
      if (node.opType === 'DynamicQuantizeLinear') {
        const values = numbersOf(inputs[0]!);
        const parameters = affineFromRange(Math.min(...values), Math.max(...values), 'uint8', false);
        assert.deepEqual([parameters.scale, parameters.zeroPoint], [numbersOf(expected[1]!)[0], numbersOf(expected[2]!)[0]]);
        assert.deepEqual(Array.from(numbersOf(quantizeTensor(inputs[0]!, parameters))), Array.from(numbersOf(wanted)));
        return;
      }
      const quantizer = quantizerOf(indexOf(model.graph), node)!;
      assert.ok(integerLimits(quantizer.dtype), quantizer.dtype);
      if (node.opType === 'QuantizeLinear') {
        const received = quantizeConstant('x', inputs[0]!, quantizer)!;
        assert.deepEqual([received.dtype, received.dims], [wanted.dtype, wanted.dims]);
        assert.deepEqual(Array.from(numbersOf(received)), Array.from(numbersOf(wanted)));
      } else {
        assert.deepEqual(Array.from(numbersOf(dequantizeConstant(inputs[0]!, quantizer))), Array.from(numbersOf(wanted)));
      }
    });
  }
});
