import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { holdOut, judgingHalf } from '../../src/data/split.js';
import { quantize, readModel, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { float32Tensor, int64Tensor, tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { writeSample, writeSamples, writeTinyModel } from '../cli/tiny-model.js';
import { GraphBuilder, noise, noiseTensor } from '../helpers/graph-builder.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';
import { QUANTIZE } from './interface.js';
import { assertShape } from './shape.js';

const SAMPLES = 12;

interface Subject {
  readonly model: string;
  readonly data: string;
  readonly output: string;
  readonly record: string;
}

function subject(t: TestContext, build: (g: GraphBuilder) => void, sampleOf: (i: number, isHeldOut: boolean) => Record<string, Tensor>, opset = 13): Subject {
  const folder = temporaryFolder(t);
  const g = new GraphBuilder(opset);
  build(g);
  const paths = { model: join(folder, 'model.onnx'), data: join(folder, 'data'), output: join(folder, 'out.onnx'), record: join(folder, 'plan.json') };
  writeFileSync(paths.model, encodeModel(g.model()));
  mkdirSync(paths.data);
  const names = Array.from({ length: SAMPLES }, (_, i) => `${i}.npz`);
  const heldOut = holdOut([...names].sort());
  names.forEach((name, i) => writeSample(join(paths.data, name), sampleOf(i, heldOut.has(name))));
  return paths;
}

async function make({ model, data, output, record }: Subject, more: Partial<QuantizeOptions> = {}): Promise<QuantizeResult> {
  const result = await quantize({ model, data: [data], output, planOut: record, target: 'ort-x64', threads: 1, ...more });
  assertShape(result, QUANTIZE);
  return result;
}

/** The record gives the same bytes and the same account of the nodes. */
async function assertReplays({ model, output, record }: Subject, result: QuantizeResult): Promise<void> {
  const again = await quantize({ model, plan: record, output: `${output}.again` });
  assert.equal(again.output!.sha256, result.output!.sha256);
  assert.deepEqual(again.nodes, result.nodes);
}

describe('the chosen plan is confirmed on samples that were held out', () => {
  test('one that fails there gives way to another, and the report says so', async (t) => {
    // What is held out has far wider ranges: static ones clip, those of each run do not.
    const paths = subject(
      t,
      (g) => {
        const hidden = g.op('hidden', 'Relu', [g.op('first', 'Gemm', [g.input('x', [64, 256]), g.weight('w1', [256, 256]), g.weight('b1', [256])])]);
        g.output(g.op('second', 'MatMul', [hidden, g.weight('w2', [256, 128])]));
      },
      (i, isHeldOut) => ({ x: noiseTensor([64, 256], 50 + i, isHeldOut ? 30 : 1) }),
    );
    const result = await make(paths, { prefer: 'integer' });
    const { confirmations } = result.search!;
    assert.ok(confirmations.length > 1);
    assert.deepEqual(confirmations.map(({ holds }) => holds), [...confirmations.slice(1).map(() => false), true]);
    assert.ok(confirmations[0]!.sqnrDb! < 20 && confirmations.at(-1)!.sqnrDb! >= 20);
    const chosen = result.search!.candidates.find((candidate) => candidate.chosen)!;
    assert.equal(chosen.label, confirmations.at(-1)!.label);
    assert.ok(result.check!.heldOut && result.check!.sqnrDb['second']! >= 20);
    const change = result.changes.find(({ pass }) => pass === 'confirmation')!;
    assert.match(change.message, /^on the 3 samples .* given up; .* They have chosen among \d plans/);
    assert.ok(!result.warnings.some(({ code }) => code === 'error-budget'));
    await assertReplays(paths, result);
  });

  test('one that fails on samples that gave ranges gives way, however well it does on the others', async (t) => {
    // Two elements of one sample are far larger than all others: a range that is right elsewhere clips them.
    const names = Array.from({ length: SAMPLES }, (_, i) => `${i}.npz`).sort();
    const heldOut = holdOut(names);
    const deciding = names.filter((name) => !heldOut.has(name));
    const judging = judgingHalf(deciding);
    const loud = deciding.find((name) => !judging.includes(name))!;
    const paths = subject(
      t,
      (g) => g.output(g.op('y', 'MatMul', [g.input('x', [64, 256]), g.weight('w', [256, 128])])),
      (i) => {
        const values = noise(64 * 256, 50 + i);
        if (loud === `${i}.npz`) values.fill(500, 77, 79);
        return { x: tensorFromArray('float32', [64, 256], values) };
      },
    );
    const result = await make(paths, { prefer: 'integer' });
    const { confirmations } = result.search!;
    const [first] = confirmations;
    assert.ok(!first!.holds && first!.sqnrDb! > 25 && first!.seenDb! < 20, JSON.stringify(confirmations));
    assert.ok(confirmations.at(-1)!.holds && confirmations.at(-1)!.seenDb! >= 20);
    assert.match(result.changes.find(({ pass }) => pass === 'confirmation')!.message, / dB and .* dB on those that gave ranges, given up; /);
    await assertReplays(paths, result);
  });

  test('one that holds is not spoken of', async (t) => {
    const paths = subject(
      t,
      (g) => g.output(g.op('y', 'MatMul', [g.input('x', [64, 256]), g.weight('w', [256, 256])])),
      (i) => ({ x: noiseTensor([64, 256], 50 + i) }),
    );
    const result = await make(paths, { prefer: 'integer' });
    assert.deepEqual(result.search!.confirmations.map(({ holds }) => holds), [true]);
    assert.ok(!result.changes.some(({ pass }) => pass === 'confirmation'));
  });
});

/** Values among which one is so large that 8 bits a tensor leave nothing of the others. */
function withOutlier(dims: readonly [number, number], seed: number): Tensor {
  const values = noise(dims[0] * dims[1], seed);
  for (let row = 0; row < dims[0]; row++) values[row * dims[1]] = 1e4;
  return tensorFromArray('float32', dims, values);
}

/**
 * A product that reads nothing of the outlier, in a branch that runs inside of a loop, beside another product outside. The loop does not say of what type
 * its state is, so that static quantization does not look into it.
 */
function productInBody(g: GraphBuilder): void {
  const branch = (name: string) => {
    const b = new GraphBuilder();
    const weight = noiseTensor([256, 64], 7).storage.read();
    const values = new Float32Array(weight.buffer.slice(weight.byteOffset, weight.byteOffset + weight.byteLength)).fill(0, 0, 64);
    b.output(b.op(`${name}_y`, 'MatMul', ['x', b.constant(`${name}_w`, tensorFromArray('float32', [256, 64], values))]));
    return { kind: 'graph' as const, value: b.model().graph };
  };
  g.input('x', [32, 256]);
  g.input('condition', [], 'bool');
  const body = new GraphBuilder();
  body.input('i', [], 'int64');
  body.output(body.op('more', 'Identity', [body.input('go', [], 'bool')]));
  body.output(body.op('next', 'Neg', [body.input('state', [1])]));
  body.output(body.op('either', 'If', ['condition'], { attributes: { then_branch: branch('then'), else_branch: branch('else') } }));
  const { graph } = body.model();
  const untyped = { ...graph, inputs: graph.inputs.map((input) => (input.name === 'state' ? { ...input, type: { kind: 'none' as const } } : input)) };
  const start = g.constant('start', float32Tensor([1]));
  g.op('loop', 'Loop', [g.constant('once', int64Tensor(1)), '', start], { outputs: ['last', 'inside'], attributes: { body: { kind: 'graph', value: untyped } } });
  g.output('inside');
  g.output(g.op('outside', 'MatMul', [g.input('z', [64, 256]), g.weight('outside_w', [256, 256])]));
}

describe('nodes in bodies of loops', () => {
  test('stay in float where the budget asks for that, also those that no sample ran', async (t) => {
    const paths = subject(t, productInBody, (i) => ({ x: withOutlier([32, 256], i), z: noiseTensor([64, 256], 50 + i), condition: tensorFromArray('bool', [], Uint8Array.of(1)) }));
    const result = await make(paths, { prefer: 'integer' });
    const inBodies = result.nodes.filter(({ name }) => /_y$/.test(name));
    assert.deepEqual(inBodies.map(({ name, decision, reason }) => [name, decision, reason]), [
      ['then_y', 'float', 'left in float by measurement'],
      ['else_y', 'float', 'left in float by measurement'],
    ]);
    const { sqnrDb } = result.check!;
    assert.ok(sqnrDb['inside']! > 100 && sqnrDb['outside']! > 20, JSON.stringify(sqnrDb));
    assert.equal(result.integer!.integerNodes, 1);
    await assertReplays(paths, result);
  });

  test('are dynamic where that keeps it', async (t) => {
    const paths = subject(t, productInBody, (i) => ({ x: noiseTensor([32, 256], i), z: noiseTensor([64, 256], 50 + i), condition: tensorFromArray('bool', [], Uint8Array.of(1)) }));
    const result = await make(paths, { prefer: 'integer' });
    assert.equal(result.integer!.integerNodes, 3);
  });
});

describe('a model of which nothing can be static', () => {
  const lstm = (g: GraphBuilder) => {
    g.output(g.op('lstm', 'LSTM', [g.input('x', [16, 1, 64]), g.weight('w', [1, 256, 64]), g.weight('r', [1, 256, 64])], { attributes: { hidden_size: 64 }, outputs: ['y'] }));
  };

  test('is dynamic where that keeps the budget, and searched all the same', async (t) => {
    const paths = subject(t, lstm, (i) => ({ x: noiseTensor([16, 1, 64], i) }));
    const result = await make(paths, { prefer: 'integer', minSqnr: 10 });
    assert.equal(result.mode, 'dynamic');
    assert.ok(result.warnings.some(({ code }) => code === 'dynamic-instead'));
    assert.deepEqual(result.search!.candidates.filter(({ chosen }) => chosen).map(({ label, integerNodes }) => [label, integerNodes]), [['all dynamic', 1]]);
    await assertReplays(paths, result);
  });

  test('stays in float where it does not', async (t) => {
    const paths = subject(t, lstm, (i) => ({ x: noiseTensor([16, 1, 64], i) }));
    const result = await make(paths, { minSqnr: 80 });
    assert.ok(result.warnings.some(({ code }) => code === 'no-gain'));
    assert.equal(result.integer!.integerNodes, 0);
    assert.ok(result.check!.sqnrDb['y']! > 80);
    await assertReplays(paths, result);
  });
});

describe('where nothing wins', () => {
  test('the smallest model inside the budget that runs as float does is written, with the reason', async (t) => {
    const folder = temporaryFolder(t);
    const data = join(folder, 'data');
    mkdirSync(data);
    writeSamples(data, SAMPLES);
    const paths = { model: join(folder, writeTinyModel(folder)), data, output: join(folder, 'out.onnx'), record: join(folder, 'plan.json') };
    const result = await make(paths, { minSqnr: 120 });
    const warning = result.warnings.find(({ code }) => code === 'no-gain')!;
    assert.match(warning.message, /runs in float \("float after clean-up"\): \w+/);
    assert.equal(typeof result.search!.noGain, 'string');
    assert.equal(result.integer!.integerNodes, 0);
    assert.ok(result.check!.sqnrDb['logits']! >= 120);
    assert.ok(!result.warnings.some(({ code }) => code === 'slower' || code === 'error-budget'));
    await assertReplays(paths, result);
  });

  test('weights are stored in 8 bits where the budget allows that', async (t) => {
    // One row, with an outlier: static and dynamic are too loud, and there is no time to win.
    const paths = subject(
      t,
      (g) => g.output(g.op('y', 'Softmax', [g.op('rest', 'Tanh', [g.op('product', 'MatMul', [g.input('x', [1, 64]), withLargeFirstRow(g)])])])),
      (i) => ({ x: withOutlier([1, 64], i) }),
    );
    const result = await make(paths, { minSqnr: 20 });
    const chosen = result.search!.candidates.find((candidate) => candidate.chosen)!;
    assert.match(chosen.label, /^float, weights stored in 8 bits$/);
    assert.deepEqual(result.nodes.find(({ name }) => name === 'product')!.decision, 'weights-only');
    const { graph } = await readModel(result.output!.path);
    assert.deepEqual([...graph.initializers.values()].map(({ dtype }) => dtype).sort(), ['float32', 'int8']);
    await assertReplays(paths, result);
  });
});

/** A weight whose first row, which the outlier meets, is zero. */
function withLargeFirstRow(g: GraphBuilder): string {
  return g.constant('w', tensorFromArray('float32', [64, 64], noise(64 * 64, 3).fill(0, 0, 64)));
}

describe('--max-drop', () => {
  test('without labels, or with labels of other samples, is refused before anything is tried', async (t) => {
    const paths = subject(t, (g) => g.output(g.op('y', 'MatMul', [g.input('x', [4, 64]), g.weight('w', [64, 10])])), (i) => ({ x: noiseTensor([4, 64], i) }));
    const stages: string[] = [];
    const onProgress = ({ stage }: { stage: string }) => void stages.push(stage);
    await assert.rejects(make(paths, { maxDrop: 0.1, onProgress }), { code: 'usage', message: /^--max-drop 0\.1 needs labels/ });
    const labels = join(paths.data, '..', 'labels.json');
    writeFileSync(labels, JSON.stringify({ 'elsewhere.npz': 1 }));
    await assert.rejects(make(paths, { maxDrop: 0.1, labels, onProgress }), { code: 'data-invalid', message: /label none of the \d samples that judge/ });
    assert.ok(!stages.some((stage) => /judging|searching/.test(stage)), stages.join());
  });
});
