import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { mergeObservations } from '../../src/calibration/calibration-table.js';
import { readTable, tableText } from '../../src/calibration/table-file.js';
import { calibrate, compare, quantize, QdqError, readModel, type Comparison, type ProgressEvent, type QuantizeOptions, type QuantizeResult } from '../../src/index.js';
import { holdOut } from '../../src/data/split.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { listSamples, partitionSamples } from '../../src/partition-samples.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { tensorFromArray, type Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { noise, tinyModel, writeSample, writeSamples, writeTinyModel } from '../cli/tiny-model.js';
import { GraphBuilder, SAME_PADS } from '../helpers/graph-builder.js';
import { sampleModels } from '../helpers/shared-models.js';

const folder = mkdtempSync(join(tmpdir(), 'qdq-quantize-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const model = join(folder, writeTinyModel(folder));
const data = join(folder, 'data');
mkdirSync(data);
writeSamples(data, 16);

const at = (name: string) => join(folder, name);
const bytesOf = (name: string) => readFileSync(at(name));

async function make(output: string, more: Partial<QuantizeOptions> = {}): Promise<QuantizeResult> {
  return quantize({ model, data: [data], output: at(output), threads: 1, effort: 'none', ...more });
}

/** A new folder with samples of noise, some of them times a factor. */
function samplesWith(name: string, count: number, replaced: Readonly<Record<number, number>> = {}): string {
  const path = at(name);
  mkdirSync(path);
  writeSamples(path, count);
  for (const [i, factor] of Object.entries(replaced)) {
    writeSample(join(path, `${i}.npz`), { image: changed(noise([1, 3, 8, 8], 100 + Number(i)), (value) => value * factor) });
  }
  return path;
}

function changed(tensor: Tensor, change: (value: number) => number): Tensor {
  return tensorFromArray('float32', tensor.dims, Float32Array.from(numbersOf(tensor), change));
}

/** A product whose input is quantized in every run. */
function dynamicModel(): ReturnType<typeof tinyModel> {
  const g = new GraphBuilder();
  g.op('q', 'DynamicQuantizeLinear', [g.input('image', [2, 4])], { outputs: ['q', 's', 'z'] });
  g.output(g.op('y', 'MatMulInteger', ['q', g.integerWeight('w', [4, 3])[0], 'z']));
  return g.model();
}

test('rounding that only looks like fake quantization is arithmetic', async () => {
  const g = new GraphBuilder();
  const pointwise = (name: string, x: string, channels: number) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [8, channels, 1, 1])]);
  // Steps of a third, of which the half is taken: no scale of an integer does that.
  const factor = g.op('factor', 'Div', [g.floats('six', [6], []), g.floats('two', [2], [])]);
  const steps = g.op('steps', 'Round', [g.op('times', 'Mul', [pointwise('first', g.input('image', [1, 3, 8, 8]), 3), factor])]);
  g.output(pointwise('second', g.op('halves', 'Mul', [steps, g.floats('half', [0.5], [])]), 8));
  writeFileSync(at('steps.onnx'), encodeModel(g.model()));
  const { mode, integer } = await quantize({ model: at('steps.onnx'), data: [data], output: at('steps.int8.onnx'), method: 'minmax', threads: 1, effort: 'none' });
  assert.deepEqual([mode, integer!.integerNodes], ['static', 2]);
  await assert.rejects(quantize({ model: at('steps.onnx'), output: at('steps.int8.onnx'), mode: 'qat' }), { code: 'usage', message: /carries no Q\/DQ/ });
});

test('a pool that is written as a convolution is no compute node of the model', async () => {
  const g = new GraphBuilder();
  const pointwise = (name: string, x: string, channels: number) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [8, channels, 1, 1])]);
  const pooled = g.op('pool', 'AveragePool', [pointwise('first', g.input('image', [1, 3, 8, 8]), 3)], { attributes: { kernel_shape: [2, 2], strides: [2, 2] } });
  g.output(pointwise('second', pooled, 8));
  writeFileSync(at('pooled.onnx'), encodeModel(g.model()));
  const { integer } = await quantize({ model: at('pooled.onnx'), data: [data], output: at('pooled.int8.onnx'), threads: 1, effort: 'none' });
  assert.deepEqual([integer!.computeNodes, integer!.integerNodes, integer!.macsShare], [2, 2, 1]);
  assert.deepEqual(integer!.nodes.map(({ name }) => name), ['first', 'second']);
  const written = await readModel(at('pooled.int8.onnx'));
  assert.equal(written.graph.nodes.filter(({ opType }) => opType === 'Conv').length, 3);
});

describe('the same input and options give the same bytes', () => {
  test('with all that decides by measured error', async () => {
    const [a, b] = [await make('a.onnx'), await make('b.onnx')];
    assert.equal(a.output!.sha256, b.output!.sha256);
    assert.deepEqual(bytesOf('a.onnx'), bytesOf('b.onnx'));
    assert.deepEqual([a.method, a.methods, a.nodes, a.changes], [b.method, b.methods, b.nodes, b.changes]);
  });

  test('the transformer of the samples, from a table, verified or not', async () => {
    const tokens = sampleModels().find(({ name }) => name.startsWith('tokens'))!.path;
    await calibrate({ model: tokens, data: [join(tokens, '../calibration')], limit: 8, output: at('tokens.json') });
    const options = { model: tokens, calibration: at('tokens.json'), threads: 1, method: 'minmax' } as const;
    const verified = await quantize({ ...options, output: at('tokens-a.onnx') });
    const unverified = await quantize({ ...options, output: at('tokens-b.onnx'), verify: false });
    assert.equal(verified.output!.sha256, unverified.output!.sha256);
    assert.deepEqual(verified.changes.filter(({ pass }) => pass === 'repair'), []);
  });

  test('a table gives the ranges that its samples give', async () => {
    const few = samplesWith('four', 4);
    await calibrate({ model, data: [few], output: at('four.json') });
    await make('from-table.onnx', { data: [few], calibration: at('four.json'), method: 'percentile' });
    await make('from-data.onnx', { data: [few], method: 'percentile' });
    assert.deepEqual(bytesOf('from-table.onnx'), bytesOf('from-data.onnx'));
  });
});

describe('tables', () => {
  test('two shards merged are one run, byte for byte', async () => {
    const shard = async (split: string | undefined, output: string) => {
      await calibrate({ model, data: [data], exact: true, output: at(output), ...(split ? { split } : {}) });
      return readTable(at(output));
    };
    const [even, odd, whole] = [await shard('even', 'even.json'), await shard('odd', 'odd.json'), await shard(undefined, 'whole.json')];
    assert.deepEqual([even.samples.length, odd.samples.length, whole.samples.length], [8, 8, 16]);
    assert.equal(tableText({ ...even, ...mergeObservations(odd, even) }), readFileSync(at('whole.json'), 'utf8'));
  });

  test('a table of another model is refused', async () => {
    await calibrate({ model, data: [data], limit: 2, output: at('mine.json') });
    const other = tinyModel();
    writeFileSync(at('other.onnx'), encodeModel({ ...other, producer: 'another' }));
    await assert.rejects(quantize({ model: at('other.onnx'), calibration: at('mine.json'), output: at('x.onnx') }), (error: QdqError) => {
      assert.equal(error.code, 'table-mismatch');
      assert.match(error.message, /tiny\.onnx|another model|other\.onnx/);
      return true;
    });
    assert.ok(!readdirSync(folder).includes('x.onnx'));
  });

  test('a file that is no table is refused', async () => {
    writeFileSync(at('no-table.json'), '{"schema":"qdq.table/0"}');
    await assert.rejects(make('x.onnx', { calibration: at('no-table.json') }), { code: 'table-invalid' });
    await assert.rejects(make('x.onnx', { calibration: at('absent.json') }), { code: 'file-not-found' });
  });
});

describe('samples that are held out', () => {
  const names = Array.from({ length: 12 }, (_, i) => `${i}.npz`).sort();
  const held = holdOut(names);
  const numberOf = (name: string) => Number.parseInt(name, 10);
  const [heldSample, deciding] = [[...held][0]!, names.find((name) => !held.has(name))!].map(numberOf) as [number, number];

  async function inputRange(source: string): Promise<readonly [number, number]> {
    const { plan } = await quantize({ model, data: [source], dryRun: true, method: 'minmax', mode: 'static', effort: 'none' });
    return plan!.tensors['image']!.range;
  }

  test('give no ranges', async () => {
    assert.equal(held.size, 3);
    const plain = await inputRange(samplesWith('plain', 12));
    assert.deepEqual(await inputRange(samplesWith('held-outlier', 12, { [heldSample]: 100 })), plain);
    const [low, high] = await inputRange(samplesWith('outlier', 12, { [deciding]: 100 }));
    assert.ok(low < 50 * plain[0] && high > 50 * plain[1]);
  });

  test('decide nothing: those that decide and those held out share no name', async (t) => {
    const host = new RuntimeHost();
    t.after(() => host.close());
    const source = samplesWith('parts', 12);
    const { all, deciding, heldOut } = partitionSamples(await listSamples(host, (await readModel(model)).graph, { paths: [source] }, false));
    assert.deepEqual([all, heldOut], [names, names.filter((name) => held.has(name))]);
    assert.deepEqual(deciding, names.filter((name) => !held.has(name)));
  });

  test('are all that the printed figures come from', async () => {
    const source = samplesWith('figures', 12, { [heldSample]: 3 });
    const { check, warnings } = await make('figures.onnx', { data: [source] });
    assert.deepEqual([check!.samples, check!.heldOut], [3, true]);
    assert.ok(!warnings.some(({ code }) => code === 'not-held-out'));
    const paths = [...held].map((name) => join(source, name));
    const judged = (await compare({ baseline: model, candidates: [at('figures.onnx')], data: paths, threads: 1, runs: 1, warmup: 0 })) as Comparison;
    assert.equal(check!.sqnrDb['logits'], judged.outputs[0]!.sqnrDb);
    assert.equal(check!.agreement['logits'], judged.outputs[0]!.agreement);
  });

  test('are those that a table has not seen', async () => {
    await calibrate({ model, data: [data], split: 'even', output: at('half.json') });
    const { check } = await make('half.onnx', { calibration: at('half.json') });
    assert.deepEqual([check!.samples, check!.heldOut], [4, true], 'the other half of the unseen chooses the method');
    const fixed = await make('half-fixed.onnx', { calibration: at('half.json'), method: 'mse' });
    assert.deepEqual([fixed.check!.samples, fixed.check!.heldOut], [8, true]);
    const seen = await make('seen.onnx', { calibration: at('half.json'), split: 'even' });
    assert.deepEqual([seen.check!.samples, seen.check!.heldOut], [8, false]);
    assert.ok(seen.warnings.some(({ code }) => code === 'not-held-out'));
  });

  test('are none among fewer than eight, which is said', async () => {
    const { check, warnings } = await make('seven.onnx', { data: [samplesWith('seven', 7)] });
    assert.deepEqual([check!.samples, check!.heldOut], [7, false]);
    assert.match(warnings.find(({ code }) => code === 'not-held-out')!.advice, /eight or more/);
  });
});

/** Integers of each kind of constant, and what the Q/DQ nodes of a model look like. */
async function formOf(name: string): Promise<{ weights: number[]; weightTypes: Set<string>; activationTypes: Set<string>; channels: Set<number>; zeroPoints: Set<number> }> {
  const { graph } = await readModel(at(name));
  const constant = (value: string) => graph.initializers.get(value);
  const form = { weights: [] as number[], weightTypes: new Set<string>(), activationTypes: new Set<string>(), channels: new Set<number>(), zeroPoints: new Set<number>() };
  for (const node of graph.nodes) {
    const [value = '', scale = '', zero = ''] = node.inputs;
    const stored = constant(value);
    if (node.opType === 'QuantizeLinear') {
      form.activationTypes.add(constant(zero)!.dtype);
      form.zeroPoints.add(numbersOf(constant(zero)!)[0]!);
    } else if (node.opType === 'DequantizeLinear' && stored && stored.dtype !== 'int32') {
      form.weights.push(...numbersOf(stored));
      form.weightTypes.add(stored.dtype);
      form.channels.add(constant(scale)!.dims[0] ?? 1);
    }
  }
  return form;
}

const largest = (values: readonly number[], middle = 0) => Math.max(...values.map((value) => Math.abs(value - middle)));

describe('targets and types', () => {
  test('ort-x64-vnni, the default: u8 activations, s8 weights in the full range, one scale a channel', async () => {
    const { target } = await make('vnni.onnx');
    assert.equal(target, 'ort-x64-vnni');
    const { weights, weightTypes, activationTypes, channels } = await formOf('vnni.onnx');
    assert.deepEqual([largest(weights), [...weightTypes], [...activationTypes], [...channels].sort()], [127, ['int8'], ['uint8'], [16, 4]]);
  });

  test('ort-x64: the same within ±64', async () => {
    const { target, warnings, integer } = await make('x64.onnx', { target: 'ort-x64' });
    assert.equal(target, 'ort-x64');
    assert.ok(!warnings.some(({ code }) => code === 'target-machine'));
    assert.equal(integer!.integerNodes, 2);
    const { weights, activationTypes } = await formOf('x64.onnx');
    assert.deepEqual([largest(weights), [...activationTypes]], [64, ['uint8']]);
  });

  test('ort-arm64: s8 activations and weights', async () => {
    const { target, integer, warnings, check, slowNodes } = await make('arm64.onnx', { target: 'ort-arm64' });
    assert.equal(target, 'ort-arm64');
    if (process.arch !== 'arm64') {
      assert.deepEqual([check!.speedup, check!.speedupInterval, slowNodes], [null, null, []], 'this machine cannot tell how fast it is there');
      assert.ok(!warnings.some(({ code }) => code === 'slower'));
    }
    assert.equal(integer!.integerNodes, 2);
    if (process.arch !== 'arm64') assert.ok(warnings.some(({ code }) => code === 'target-machine'));
    const { weights, weightTypes, activationTypes } = await formOf('arm64.onnx');
    assert.deepEqual([largest(weights), [...weightTypes], [...activationTypes]], [127, ['int8'], ['int8']]);
  });

  test('weights in u8, around 128', async () => {
    const { integer } = await make('u8.onnx', { weightType: 'uint8', target: 'ort-x64' });
    const { weights, weightTypes } = await formOf('u8.onnx');
    assert.deepEqual([[...weightTypes], largest(weights, 128)], [['uint8'], 64]);
    assert.equal(integer!.integerNodes, 2);
  });

  test('one scale for each weight', async () => {
    const { integer } = await make('per-tensor.onnx', { perTensor: true });
    const { channels } = await formOf('per-tensor.onnx');
    assert.deepEqual([...channels], [1]);
    assert.ok(integer!.nodes.every(({ weights }) => weights === 's8 per tensor'));
  });

  test('symmetric activations', async () => {
    await make('symmetric.onnx', { symmetricActivations: true });
    const { zeroPoints } = await formOf('symmetric.onnx');
    assert.deepEqual([...zeroPoints], [128]);
  });

  test('nodes that the user keeps in float, with the reason', async () => {
    const { nodes, integer } = await make('kept.onnx', { exclude: ['conv*'] });
    assert.deepEqual(nodes.filter(({ opType }) => opType === 'Conv').map(({ decision, reason }) => [decision, reason]), [['float', 'excluded by --exclude']]);
    assert.deepEqual(integer!.nodes.map(({ runsAs, reason }) => [runsAs, reason]), [['float', 'excluded by --exclude'], ['integer', null]]);
  });

  test('what a repair takes back to float has its bias as it was', async () => {
    // s8 with two readers does not fuse on x64: the residual goes back to float.
    const g = new GraphBuilder();
    const conv = (name: string, x: string) => g.op(name, 'Conv', [x, g.weight(`${name}_w`, [16, 16, 3, 3]), g.weight(`${name}_b`, [16], 0.5)], { attributes: SAME_PADS });
    const first = g.op('r', 'Relu', [conv('first', g.input('image', [1, 16, 8, 8]))]);
    g.output(conv('last', conv('more', g.op('sum', 'Add', [conv('second', first), first]))));
    writeFileSync(at('residual.onnx'), encodeModel(g.model()));
    mkdirSync(at('sixteen'));
    // Far from zero, so that rounded weights move the mean and the correction pays.
    for (let i = 0; i < 6; i++) writeSample(join(at('sixteen'), `${i}.npz`), { image: changed(noise([1, 16, 8, 8], i + 1), (value) => 2 + 0.1 * value) });
    const { changes, integer } = await quantize({ model: at('residual.onnx'), data: [at('sixteen')], output: at('residual8.onnx'), activationType: 'int8', perTensor: true, reduceRange: true, threads: 1, effort: 'none' });
    assert.deepEqual(changes.find(({ pass }) => pass === 'bias-correction')!.names, ['first', 'second', 'more', 'last']);
    const { graph } = await readModel(at('residual8.onnx'));
    const float = integer!.nodes.filter(({ runsAs }) => runsAs === 'float').map(({ name }) => name);
    for (const name of float) assert.deepEqual(graph.nodes.find((node) => node.name === name)!.inputs.slice(1), [`${name}_w`, `${name}_b`]);
    if (process.arch === 'x64') {
      assert.ok(float.includes('first') && changes.some(({ pass }) => pass === 'repair'), JSON.stringify(changes));
      assert.ok(integer!.integerNodes > 0);
    }
  });
});

describe('what is written, and what is not', () => {
  const listing = () => readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();

  test('a dry run gives the plan and writes nothing', async () => {
    const before = listing();
    const { output, plan, check, nodes, integer } = await make('dry.onnx', { dryRun: true });
    assert.deepEqual([output, check], [null, null]);
    assert.equal(plan!.schema, 'qdq.plan/1');
    assert.deepEqual(plan!.nodes.map(({ name, decision }) => [name, decision]), nodes.map(({ name, decision }) => [name, decision]));
    assert.equal(integer!.integerNodes, 2);
    assert.deepEqual(listing(), before);
  });

  for (const stage of ['calibrating', 'judging', 'timing']) {
    test(`an abort while ${stage} rejects as interrupted and leaves nothing, not even temporary files`, async (t) => {
      const temporary = at(`tmp-${stage}`);
      mkdirSync(temporary);
      const before = process.env['TMPDIR'];
      process.env['TMPDIR'] = temporary;
      t.after(() => {
        if (before === undefined) delete process.env['TMPDIR'];
        else process.env['TMPDIR'] = before;
      });
      const files = listing();
      const controller = new AbortController();
      const seen: string[] = [];
      const onProgress = (event: ProgressEvent) => {
        seen.push(event.stage);
        if (event.stage === stage) controller.abort();
      };
      await assert.rejects(make('aborted.onnx', { signal: controller.signal, onProgress }), { code: 'interrupted' });
      assert.ok(seen.includes(stage), seen.join());
      assert.deepEqual(listing(), files);
    });
  }

  test('a signal that is aborted already stops before any work', async () => {
    await assert.rejects(make('aborted.onnx', { signal: AbortSignal.abort() }), { code: 'interrupted' });
  });
});

describe('what is refused', () => {
  const refused = (name: string, promise: () => Promise<unknown>, code: string, message: RegExp): void => {
    void test(name, async () => {
      const before = readdirSync(folder);
      await assert.rejects(promise, (error: QdqError) => {
        assert.ok(error instanceof QdqError, String(error));
        assert.deepEqual([error.code, message.test(error.message)], [code, true], `${error.code}: ${error.message}`);
        assert.ok(error.hint, 'says what to do');
        return true;
      });
      assert.deepEqual(readdirSync(folder).filter((file) => !before.includes(file)), []);
    });
  };
  const wrong = (name: string, inputs: Parameters<typeof writeSample>[1]): string => {
    writeSample(at(name), inputs);
    return at(name);
  };
  const byName = wrong('by-name.npz', { picture: noise([1, 3, 8, 8], 1), other: noise([1], 1) });
  const byShape = wrong('by-shape.npz', { image: noise([1, 4, 8, 8], 1) });
  writeFileSync(at('half.onnx.cut'), encodeModel(tinyModel()).subarray(0, 1000));

  refused('a sample without an input of the model', () => make('x.onnx', { data: [byName] }), 'data-invalid', /by-name\.npz.*image/);
  refused('a sample of another shape', () => make('x.onnx', { data: [byShape] }), 'data-invalid', /by-shape\.npz.*image.*3/);
  refused('no ranges', () => quantize({ model, output: at('x.onnx'), mode: 'static' }), 'usage', /--calibration/);
  refused('the output that is the input', () => make('tiny.onnx'), 'usage', /is the input/);
  refused('no output', () => quantize({ model, data: [data] }), 'usage', /no output/);
  refused('an unknown target', () => make('x.onnx', { target: 'ort-riscv' as 'ort-x64' }), 'usage', /"ort-riscv"/);
  refused('a missing model', () => make('x.onnx', { model: at('absent.onnx') }), 'file-not-found', /absent\.onnx/);
  refused('a model that is cut off', () => make('x.onnx', { model: at('half.onnx.cut') }), 'not-onnx', /half\.onnx\.cut/);
  for (const mode of ['static', 'dynamic'] as const) {
    refused(`a model that is quantized already, with --mode ${mode}`, () => make('x.onnx', { model: at('vnni.onnx'), mode }), 'usage', new RegExp(`vnni\\.onnx carries Q/DQ already, and --mode ${mode} starts from a float model`));
  }
  writeFileSync(at('dynamic-already.onnx'), encodeModel(dynamicModel()));
  refused('a model that is quantized dynamically already', () => make('x.onnx', { model: at('dynamic-already.onnx') }), 'usage', /quantized already: it has DynamicQuantizeLinear nodes/);
  refused('a model whose nodes are all excluded', () => make('x.onnx', { exclude: ['*'], mode: 'static' }), 'nothing-to-quantize', /excluded by --exclude/);
  refused('a place that cannot be written', () => make('no/such/folder/x.onnx'), 'file-unwritable', /x\.onnx/);
});

