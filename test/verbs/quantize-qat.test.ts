import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Model, ValueInfo } from '../../src/graph/model.js';
import { compare, inspect, quantize, readModel, type QuantizeOptions } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { halfTensor } from '../../src/quantization/float16-tensors.js';
import { Session } from '../../src/runtime/session.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, writeSample } from '../cli/tiny-model.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { runModel } from '../helpers/run-model.js';
import { noSharedModels, sampleModels, sharedModels } from '../helpers/shared-models.js';
import { openData } from '../../src/data/open-data.js';
import { modelInputs } from '../../src/data/model-inputs.js';
import { QUANTIZE } from './interface.js';
import { assertShape } from './shape.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-qat-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const data = at('data');
mkdirSync(data);
for (let i = 0; i < 12; i++) writeSample(join(data, `${i}.npz`), { x: noise([1, 4, 6, 6], 50 + i) });

function file(name: string, model: Model): string {
  writeFileSync(at(name), encodeModel(model));
  return at(name);
}

const quantizeFile = (model: string, more: Partial<QuantizeOptions> = {}) => quantize({ model, output: at('out.onnx'), threads: 1, target: 'ort-x64', ...more });

/** Q/DQ before each convolution only, as TensorRT's tools train: nothing behind the first convolution, which an Add reads. */
function inputsOnly(): Model {
  const g = new GraphBuilder();
  const conv = (name: string, x: string) => g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [4, 4, 3, 3], { axis: 0 }), g.floats(`${name}_b`, [0.1, 0.2, 0.3, 0.4])], { attributes: SAME_PADS });
  const pair = (value: string) => g.pair(value, { dtype: 'int8', scale: 1 / 32 });
  const x = pair(g.input('x', [1, 4, 6, 6]));
  const sum = g.op('sum', 'Add', [conv('a', x), conv('b', x)]);
  g.output(g.pair(conv('c', pair(g.op('r', 'Relu', [sum])))));
  return g.model();
}

/** The model with float16 in the place of float32. */
function inFloat16(model: Model): Model {
  const half = (value: ValueInfo): ValueInfo => (value.type.kind === 'tensor' && value.type.dtype === 'float32' ? { ...value, type: { ...value.type, dtype: 'float16' } } : value);
  const { inputs, outputs, initializers } = model.graph;
  const constants = new Map([...initializers].map(([name, tensor]) => [name, tensor.dtype === 'float32' ? halfTensor(tensor) : tensor] as const));
  const typed = outputs.map(({ name }): ValueInfo => ({ name, type: { kind: 'tensor', dtype: 'float16' } }));
  return { ...model, graph: { ...model.graph, inputs: inputs.map(half), outputs: typed, initializers: constants } };
}

describe('quantize --mode qat', () => {
  test('says which ranges are missing, and takes them from samples', async () => {
    const model = file('inputs-only.onnx', inputsOnly());
    const without = await quantizeFile(model);
    assertShape(without, QUANTIZE);
    assert.deepEqual(without.nodes.filter(({ opType }) => opType === 'Conv').map(({ decision }) => decision), ['float', 'float', 'quantized']);
    assert.match(without.nodes.find(({ name }) => name === 'a')!.reason!, /"a" has no trained range.*--data/);
    const completed = await quantizeFile(model, { data: [data] });
    assert.deepEqual([completed.integer!.integerNodes, completed.integer!.danglingQdqNodes], [3, 0]);
    assert.ok(completed.changes.some(({ pass, names }) => pass === 'complete-pairs' && names.includes('a') && names.includes('b')));
    assert.ok(completed.check!.heldOut && Object.values(completed.check!.simulatedSqnrDb).every((sqnrDb) => sqnrDb! > 25));
    assert.match(completed.changes.at(-1)!.message, /^before, \d of 3 compute nodes.*now, 3 of 3/);
  });

  test('auto takes it where the model carries Q/DQ; other modes and options that training decided are refused', async () => {
    const model = file('refused.onnx', inputsOnly());
    assert.equal((await quantizeFile(model, { dryRun: true })).mode, 'qat');
    for (const mode of ['static', 'dynamic'] as const) await assert.rejects(quantizeFile(model, { mode, data: [data] }), { code: 'usage', hint: /--mode qat/ });
    await assert.rejects(quantizeFile(model, { weightType: 'uint8' }), { code: 'usage', message: /no use for --weight-type/ });
    await assert.rejects(quantizeFile(model, { exclude: ['a'] }), { code: 'usage', message: /no use for --exclude/ });
  });

  test('a float model is refused; where nothing runs on integers, a warning says so', async () => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'Conv', [g.input('x', [1, 4, 6, 6]), g.weight('w', [4, 4, 1, 1])]));
    await assert.rejects(quantizeFile(file('float.onnx', g.model()), { mode: 'qat' }), { code: 'usage', message: /carries no Q\/DQ/ });
    const weights = new GraphBuilder();
    weights.output(weights.op('y', 'Conv', [weights.input('x', [1, 4, 6, 6]), weights.quantizedWeight('w', [4, 4, 1, 1])]));
    const path = file('weights.onnx', weights.model());
    assert.deepEqual((await quantizeFile(path)).warnings.map(({ code }) => code), ['stays-float']);
    assert.equal((await quantizeFile(path, { data: [data] })).integer!.integerNodes, 1);
  });

  test('a model trained in float16 runs on integers all the same, and keeps the types of its inputs and outputs', async () => {
    const g = new GraphBuilder(19);
    const conv = (name: string, x: string) => g.op(name, 'Conv', [x, g.quantizedWeight(`${name}_w`, [4, 4, 3, 3], { axis: 0 }), g.floats(`${name}_b`, [0.1, 0.2, 0.3, 0.4])], { attributes: SAME_PADS });
    g.output(g.pair(conv('b', g.pair(g.op('r', 'Relu', [conv('a', g.pair(g.input('x', [1, 4, 6, 6])))])))));
    const model = inFloat16(g.model());
    const result = await quantizeFile(file('float16.onnx', model));
    assert.deepEqual([result.integer!.integerNodes, result.integer!.computeNodes, result.integer!.danglingQdqNodes], [2, 2, 0]);
    const { graph } = await readModel(at('out.onnx'));
    const dtypes = [...graph.inputs, ...graph.outputs].map(({ type }) => (type.kind === 'tensor' ? type.dtype : type.kind));
    assert.deepEqual(dtypes, ['float16', 'float16']);
  });

  test('a scale that makes no sense is an error that names the node', async () => {
    const g = new GraphBuilder();
    g.output(g.op('y', 'Conv', [g.pair(g.input('x', [1, 4, 6, 6]), { scale: -1 }), g.quantizedWeight('w', [4, 4, 1, 1])]));
    await assert.rejects(quantizeFile(file('negative.onnx', g.model())), { code: 'model-invalid', message: /QuantizeLinear "x_q": its scale "x_q_scale" contains -1/ });
  });

  test('gives the same bytes twice, and each format the same outputs', async () => {
    const model = file('bytes.onnx', inputsOnly());
    const make = async (name: string, format: 'qdq' | 'qoperator') => (await quantizeFile(model, { output: at(name), format, data: [data] })).output!.sha256;
    assert.equal(await make('a.onnx', 'qdq'), await make('b.onnx', 'qdq'));
    await make('low.onnx', 'qoperator');
    const operators = new Set((await readModel(at('low.onnx'))).graph.nodes.map(({ opType }) => opType));
    assert.ok(operators.has('QLinearConv') && operators.has('QLinearAdd') && !operators.has('Conv'));
    const feeds = new Map([['x', noise([1, 4, 6, 6], 3)]]);
    assert.deepEqual(await runModel(readFileSync(at('low.onnx')), feeds), await runModel(readFileSync(at('a.onnx')), feeds));
    const lifted = await quantizeFile(at('low.onnx'), { output: at('lifted.onnx') });
    assert.equal(lifted.integer!.integerNodes, 3);
    assert.deepEqual(await runModel(readFileSync(at('lifted.onnx')), feeds), await runModel(readFileSync(at('low.onnx')), feeds));
  });
});

describe('the QAT sample', () => {
  const glyphs = dirname(sampleModels().find(({ name }) => name === 'glyphs/model.onnx')!.path);
  const float = join(glyphs, 'model.onnx');
  const reference = JSON.parse(readFileSync(join(glyphs, 'qat-reference.json'), 'utf8')) as Record<string, number>;
  const made = (name: string) => at(name.replace('.onnx', '.int8.onnx'));

  test('every convolution runs on integers, in less than 0.3 of the float model', async () => {
    for (const name of Object.keys(reference)) {
      const { integer, output, mode } = await quantizeFile(join(glyphs, name), { output: made(name) });
      assert.equal(mode, 'qat');
      assert.deepEqual([integer!.integerNodes, integer!.computeNodes, integer!.danglingQdqNodes], [28, 28, 0]);
      assert.ok(output!.sizeBytes <= 0.3 * statSync(float).size, `${name}: ${output!.sizeBytes} bytes`);
      assert.ok(output!.sizeBytes <= statSync(join(glyphs, name)).size);
    }
  });

  test('a file with scales of shape [1], which the runtime refuses, is compared with what it was trained to say', async () => {
    const model = join(glyphs, 'qat-8bit.onnx');
    const advised = { code: 'runtime-rejected', message: /must be a scalar/, hint: /shape \[1\].*`qdq quantize --mode qat` writes one that loads/ };
    await assert.rejects(inspect({ model }), advised);
    await assert.rejects(compare({ baseline: model, candidates: [made('qat-8bit.onnx')], data: [join(glyphs, 'test')] }), advised);
    const { check } = await quantizeFile(model, { data: [join(glyphs, 'test')], limit: 40, labels: join(glyphs, 'labels.json') });
    assert.ok(check!.sqnrDb['logits']! > 20 && check!.simulatedSqnrDb['logits']! > 20, JSON.stringify(check));
    assert.equal(check!.collapsed.length, 0);
    assert.ok(check!.speedup! > 0 && check!.task);
  });

  test('only pictures whose two best classes are a step of the logits apart may turn', async () => {
    const spec = { paths: [join(glyphs, 'test')] };
    for (const name of Object.keys(reference)) {
      const trained = readFileSync(join(glyphs, name));
      const simulated = await Session.open(trained, { threads: 1, optimization: 'disabled' });
      const integer = await Session.open(readFileSync(made(name)), { threads: 1 });
      const { graph } = await readModel(made(name));
      const last = graph.nodes.find(({ outputs }) => outputs.includes('logits'))!;
      const [step] = numbersOf(graph.initializers.get(last.inputs[1]!)!);
      let turned = 0;
      for await (const { inputs } of await openData(spec, modelInputs(graph))) {
        const logits = async (session: Session) => [...numbersOf((await session.run(inputs)).get('logits')!)];
        const [expected, received] = [await logits(simulated), await logits(integer)];
        const [was, is] = [expected, received].map((values) => values.indexOf(Math.max(...values))) as [number, number];
        if (was === is) continue;
        turned++;
        assert.ok(expected[was]! - expected[is]! <= step! * 1.001, `${name}: ${expected[was]} became ${expected[is]}, with a step of ${step}`);
      }
      assert.ok(turned <= 2, `${name}: ${turned} turned`);
      await Promise.all([simulated.release(), integer.release()]);
    }
  });

  test('accuracy is that of the model simulated in training, and training wins at 4 bits', async () => {
    const candidates = Object.keys(reference).map(made);
    const { candidates: compared } = (await compare({ baseline: float, candidates, data: [join(glyphs, 'test')], labels: join(glyphs, 'labels.json'), runs: 1, warmup: 0 })) as { candidates: readonly { task: { candidate: number | null } | null }[] };
    compared.forEach(({ task }, i) => {
      const [name, simulated] = Object.entries(reference)[i]!;
      // Up to two pictures of 200 stand on ties: see above.
      assert.ok(Math.abs(task!.candidate! - simulated) <= 0.01 + 1e-9, `${name}: ${task!.candidate} instead of ${simulated}`);
    });
    assert.ok(reference['qat-4bit.onnx']! - reference['ptq-4bit.onnx']! >= 0.02, 'there is something to see');
  });

  test('weights of 4 bits need no u8: their products fit 16 bits on every processor', async () => {
    const { graph } = await readModel(made('qat-4bit.onnx'));
    const weights = [...graph.initializers.values()].filter(({ dtype, dims }) => dtype === 'int8' && dims.length > 1);
    assert.equal(weights.length, 28);
    for (const weight of weights) assert.ok(numbersOf(weight).every((value) => Math.abs(value) <= 64));
  });
});

const cifar = sharedModels().find(({ name }) => name.startsWith('cifar10-resnet8-int8-qdq'));

describe('a model of s8 activations with residuals', { skip: noSharedModels || (cifar ? false : 'no cifar10-resnet8-int8-qdq among the shared models') }, () => {
  test('runs on integers altogether, as it was simulated, in a file no larger', async () => {
    const { path } = cifar!;
    const { integer, output } = await quantizeFile(path);
    assert.deepEqual([integer!.integerNodes, integer!.computeNodes, integer!.danglingQdqNodes], [10, 10, 0]);
    assert.ok(output!.sizeBytes <= statSync(path).size);
    assert.ok((await inspect({ model: path })).integer!.integerNodes! < 10, 'it did not before');
    const { graph } = await readModel(path);
    const best = (outputs: Map<string, Float64Array>) => [...outputs.values()].map((values) => values.indexOf(Math.max(...values)));
    for await (const { inputs } of await openData({ paths: [join(dirname(path), 'inputs')] }, modelInputs(graph))) {
      const simulated = await runModel(readFileSync(path), inputs, { optimization: 'disabled' });
      assert.deepEqual(await runModel(readFileSync(at('out.onnx')), inputs, { optimization: 'disabled' }), simulated);
      assert.deepEqual(best(await runModel(readFileSync(at('out.onnx')), inputs)), best(simulated));
    }
  });
});
