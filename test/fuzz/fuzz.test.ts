import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { after, describe, test } from 'node:test';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { applyConfig } from '../../commands/config.js';
import { createContext } from '../../commands/context.js';
import { buildProgram } from '../../commands/program.js';
import { readTable } from '../../src/calibration/table-file.js';
import { crc32 } from '../../src/data/crc32.js';
import { readLabels } from '../../src/data/labels.js';
import { openData } from '../../src/data/open-data.js';
import { readPreprocessorConfig } from '../../src/data/preprocessor-config.js';
import { QdqError } from '../../src/errors.js';
import { checkGraph } from '../../src/graph/check-graph.js';
import { calibrate, quantize, run } from '../../src/index.js';
import { decodeModel, encodeModel } from '../../src/onnx/model-codec.js';
import { closeInitializers } from '../../src/passes/close-initializers.js';
import { closeLoops } from '../../src/passes/close-loops.js';
import { foldIntoConvolution } from '../../src/passes/fold-into-convolution.js';
import { fuseHardSigmoid } from '../../src/passes/fuse-hard-sigmoid.js';
import { inlineFunctions } from '../../src/passes/inline-functions.js';
import { liftConstants } from '../../src/passes/lift-constants.js';
import { nameNodes } from '../../src/passes/name-nodes.js';
import { normalizeGemm } from '../../src/passes/normalize-gemm.js';
import { orderNodes } from '../../src/passes/order-nodes.js';
import { runPasses } from '../../src/passes/pass.js';
import { prune } from '../../src/passes/prune.js';
import { removeIdentity } from '../../src/passes/remove-identity.js';
import { shareConstants } from '../../src/passes/share-constants.js';
import { takeBranches } from '../../src/passes/take-branches.js';
import { upgradeOpset } from '../../src/passes/upgrade-opset.js';
import { widenFloat16 } from '../../src/passes/widen-float16.js';
import { planDynamic } from '../../src/quantization/dynamic-plan.js';
import { applyDynamicPlan } from '../../src/quantization/dynamic-recipe.js';
import { selectDynamic } from '../../src/quantization/dynamic-select.js';
import { nonFiniteConstants } from '../../src/quantization/non-finite-constants.js';
import { readOverrides } from '../../src/quantization/overrides.js';
import { selectNodes } from '../../src/quantization/select.js';
import { isComputeNode } from '../../src/runtime/kernels.js';
import { tensorFromArray } from '../../src/tensor/tensor.js';
import { encodeNpy } from '../../src/data/encode-npy.js';
import { encodeNpz } from '../../src/data/npz.js';
import { noise, tinyModel, writeSamples } from '../cli/tiny-model.js';
import { parseModel } from '../helpers/graph-text.js';
import { sampleModels } from '../helpers/shared-models.js';
import { hostileModel } from './hostile-model.js';
import { damaged, damagedText, Dice } from './mutate.js';

/** Cases in all; `make fuzz` takes more. */
const CASES = Number(process.env['QDQ_FUZZ'] ?? 2000);
const SEED = Number(process.env['QDQ_FUZZ_SEED'] ?? 1);
/** No case may take longer, whatever it is. */
const MAX_MS = 10_000;
const MAX_GROWTH_BYTES = 2 ** 30;

const root = mkdtempSync(join(tmpdir(), 'qdq-fuzz-'));
after(() => rmSync(root, { recursive: true, force: true }));

/** Runs cases of one kind: each succeeds or throws a QdqError that is no internal one, in time and in bounded memory. */
async function fuzz(kind: string, count: number, attempt: (dice: Dice, i: number) => Promise<unknown>): Promise<void> {
  const before = process.memoryUsage().rss;
  let refused = 0;
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    const place = `${kind}, case ${i} of seed ${SEED}`;
    try {
      await attempt(new Dice(SEED * 1_000_003 + i), i);
    } catch (error) {
      assert.ok(error instanceof QdqError && error.code !== 'internal', `${place}: ${error instanceof Error ? error.stack : String(error)}`);
      refused++;
    }
    const durationMs = performance.now() - start;
    assert.ok(durationMs < MAX_MS, `${place} took ${Math.round(durationMs)} ms`);
  }
  assert.ok(process.memoryUsage().rss - before < MAX_GROWTH_BYTES, `${kind}: memory grew by ${process.memoryUsage().rss - before} bytes`);
  assert.ok(refused > count / 10, `${kind}: only ${refused} of ${count} were refused, so that little was damaged`);
}

const CONTROL = parseModel(`
  ir 8
  opset 11
  input x float32[2,32]
  input c bool[]
  const w float32[32,32] ~1
  const n int64[] 3
  const sure bool[] 1
  k = Constant() value=float32[1](2)
  h = MatMul(x, w)
  p = Clip(h, , k)
  s, v = Loop(n, , p, w)
    body:
      input i int64[]
      input go bool[]
      input a float32[2,32]
      input b float32[32,32]
      more = Identity(go)
      g = MatMul(a, b)
      same = Identity(b)
      output more bool[]
      output g float32[2,32]
      output same float32[32,32]
  u = Unsqueeze(s) axes=[0]
  q = Squeeze(u) axes=[0]
  y = If(c)
    then_branch:
      t = MatMul(q, w)
      output t float32[2,32]
    else_branch:
      l = Softmax(q) axis=1
      output l float32[2,32]
  z = If(sure)
    then_branch:
      const f float32[32,32] ~2
      d = MatMul(y, f)
      output d float32[2,32]
    else_branch:
      const j float32[32,32] ~2
      o = MatMul(y, j)
      output o float32[2,32]
  output z float32[2,32]`);

const SEEDS = [tinyModel(), CONTROL, decodeModel(readFileSync(sampleModels().find(({ name }) => name.startsWith('glyphs'))!.path))];
const SEED_BYTES = SEEDS.map((model) => encodeModel(model));

/** Options of several commands, of each kind of value. */
const CONFIG = '{"data": ["calibration/", "more.npz"], "limit": 16, "method": "mse", "percentile": 99.9, "per-tensor": true, "mean": "0.5,0.5,0.5", "exclude": "head*", "shape": ["x=1,3,8,8"], "runs": 5, "threads": 1, "min-sqnr": 25}';

/** All that is done to a model without the runtime, up to the bytes of a dynamically quantized one. */
function workOn(bytes: Uint8Array): void {
  const model = decodeModel(bytes, { file: join(root, 'model.onnx') });
  const passes = [orderNodes, closeLoops, liftConstants, closeInitializers, takeBranches, removeIdentity, prune, shareConstants, normalizeGemm, foldIntoConvolution, fuseHardSigmoid, prune, nameNodes];
  const inlined = inlineFunctions(orderNodes(model).model, isComputeNode).model;
  const isSound = checkGraph(inlined.graph).length === 0;
  const cleaned = runPasses(widenFloat16(upgradeOpset(inlined, 12).model, isComputeNode).model, passes).model;
  if (isSound) assert.deepEqual(checkGraph(cleaned.graph), []);
  selectNodes(cleaned.graph, new Map(), { opset: cleaned.opsets.get('') ?? 1 });
  const choices = selectDynamic(cleaned.graph, new Map(), { keptFloat: nonFiniteConstants(cleaned.graph), opTypes: ['Conv'] });
  const plan = planDynamic(choices, { target: 'ort-x64-vnni', weightType: 'int8', perChannel: true, reduceRange: false, opset: cleaned.opsets.get('') ?? 1 });
  const result = applyDynamicPlan(cleaned, plan);
  if (isSound) assert.deepEqual(checkGraph(result.graph), []);
  encodeModel(result);
}

describe(`${CASES} damaged files end in success or an error that says what is wrong`, () => {
  test('models, without the runtime', async () => {
    await fuzz('model', Math.round(CASES * 0.5), async (dice, i) => {
      const at = dice.below(SEEDS.length);
      workOn(i % 2 === 0 ? hostileModel(SEEDS[at]!, dice) : damaged(SEED_BYTES[at]!, dice));
    });
  });

  test('npz and npy files', async () => {
    const folder = join(root, 'arrays');
    mkdirSync(folder);
    const inputs = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 8, 8] }, { name: 'ids', dtype: 'int64', shape: [4] }] as const;
    const tensors = new Map([['image', noise([1, 3, 8, 8], 1)], ['ids', tensorFromArray('int64', [4], BigInt64Array.of(1n, 2n, 3n, 4n))]]);
    const npz = encodeNpz(tensors);
    const npy = encodeNpy(tensors.get('image')!);
    const packed = zipOf('image.npy', npy);
    await fuzz('array', Math.round(CASES * 0.25), async (dice, i) => {
      const isNpy = dice.below(3) === 0;
      const path = join(folder, isNpy ? `${i}.npy` : `${i}.npz`);
      writeFileSync(path, damaged(isNpy ? npy : dice.below(2) ? npz : packed, dice));
      const data = await openData({ paths: [path], stacked: dice.below(2) === 0 }, isNpy || dice.below(2) ? inputs.slice(0, 1) : inputs);
      for await (const sample of data) assert.ok(sample.name);
    });
  });

  test('tables, overrides, labels, preprocessor settings and options', async () => {
    const folder = join(root, 'texts');
    const data = join(root, 'samples');
    mkdirSync(folder);
    mkdirSync(data);
    writeSamples(data, 2);
    const model = join(folder, 'tiny.onnx');
    writeFileSync(model, encodeModel(tinyModel()));
    const table = join(folder, 'table.json');
    await calibrate({ model, data: [data], output: table, threads: 1 });
    const kinds: readonly (readonly [string, (path: string) => Promise<unknown>])[] = [
      [readFileSync(table, 'utf8'), readTable],
      ['{"ranges": {"a": [-1, 2.5], "b": [0, 1]}, "float": ["conv", "head*"], "dynamic": ["*a*b*"], "static": []}', readOverrides],
      [CONFIG, (path) => applyConfig(buildProgram(createContext([], { signal: new AbortController().signal, earlyStop: { begin: () => new AbortController().signal, end: () => undefined } })).commands.find((command) => command.name() === 'quantize')!, path)],
      ['{"a.npz": 1, "b.npz": 2, "c/d.npz": 0}', readLabels],
      ['{"size": {"height": 224, "width": 192}, "image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1], "rescale_factor": 0.00392, "resample": 3, "do_resize": true}', readPreprocessorConfig],
    ];
    await fuzz('text', Math.round(CASES * 0.24), async (dice, i) => {
      const [text, read] = dice.pick(kinds);
      const path = join(folder, `${i}.json`);
      writeFileSync(path, damagedText(text, dice));
      await read(path);
    });
  });

  test('whole verbs, in the runtime’s process', async () => {
    const folder = join(root, 'verbs');
    mkdirSync(folder);
    const around = readdirSync(root);
    const model = join(folder, 'model.onnx');
    await fuzz('verb', Math.round(CASES * 0.01), async (dice, i) => {
      // A search may take as long as its budget says; in the smallest model it ends sooner.
      const searches = i % 8 === 1;
      const at = i % 2 === 0 || searches ? 0 : dice.below(SEEDS.length);
      writeFileSync(model, i % 3 === 0 ? damaged(SEED_BYTES[at]!, dice) : hostileModel(SEEDS[at]!, dice));
      const options = { model, threads: 1, data: ['random:1'], limit: 1 };
      const stopping = new AbortController();
      const work = i % 2 === 0 ? run({ ...options, runs: 1, warmup: 0, signal: stopping.signal }) : quantize({ ...options, output: join(folder, 'out.onnx'), method: 'minmax', effort: searches ? 'normal' : 'none', signal: stopping.signal });
      await Promise.race([work, sleep(MAX_MS, undefined, { signal: stopping.signal }).catch(() => undefined)]).finally(() => stopping.abort());
      await work;
    });
    assert.deepEqual(readdirSync(folder).filter((name) => name !== 'model.onnx' && name !== 'out.onnx'), [], 'files beside the output');
    assert.deepEqual(readdirSync(root), around, 'files outside the output’s folder');
  });
});

/** A zip archive of one deflated file. */
function zipOf(name: string, content: Uint8Array, declared: number = content.length): Buffer {
  const packed = deflateRawSync(content);
  const sizes = Buffer.alloc(12);
  sizes.writeUInt32LE(crc32(content), 0);
  sizes.writeUInt32LE(packed.length, 4);
  sizes.writeUInt32LE(declared, 8);
  const names = Buffer.alloc(4);
  names.writeUInt16LE(name.length, 0);
  const head = Buffer.concat([Buffer.from('14000000080000002100', 'hex'), sizes, names]);
  const local = Buffer.concat([Buffer.from('504b0304', 'hex'), head, Buffer.from(name), packed]);
  const central = Buffer.concat([Buffer.from('504b01021400', 'hex'), head, Buffer.alloc(14), Buffer.from(name)]);
  const end = Buffer.alloc(22);
  end.write('504b0506', 0, 'hex');
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, central, end]);
}

describe('files made to do harm', () => {
  const inputs = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 8, 8] }] as const;
  const read = async (name: string, bytes: Uint8Array) => {
    const path = join(root, name);
    writeFileSync(path, bytes);
    try {
      for await (const sample of await openData({ paths: [path] }, inputs)) assert.ok(sample);
    } finally {
      rmSync(path);
    }
  };

  test('a zip that its test makes by hand is read', async () => {
    await read('good.npz', zipOf('image.npy', encodeNpy(noise([1, 3, 8, 8], 1))));
  });

  test('a zip bomb is refused before it is unpacked', async () => {
    const header = encodeNpy(noise([1, 3, 8, 8], 1)).subarray(0, 128);
    const before = process.memoryUsage().rss;
    await assert.rejects(read('bomb.npz', zipOf('image.npy', Buffer.concat([header, Buffer.alloc(2 ** 27)]))), { code: 'data-invalid' });
    await assert.rejects(read('liar.npz', zipOf('image.npy', Buffer.concat([header, Buffer.alloc(2 ** 27)]), 128 + 4 * 192)), { code: 'data-invalid' });
    assert.ok(process.memoryUsage().rss - before < 2 ** 29);
  });

  test('an array of absurd size is refused before memory is taken for it', async () => {
    const header = Buffer.from(encodeNpy(noise([1, 3, 8, 8], 1)));
    const text = header.toString('latin1').replace('(1, 3, 8, 8)', '(9999999, 3,8,8)'.padEnd(12)).slice(0, header.length);
    await assert.rejects(read('absurd.npy', Buffer.from(text, 'latin1')), { code: 'data-invalid' });
  });

  test('names in an archive that lead elsewhere are names and nothing else', async () => {
    await assert.rejects(read('path.npz', zipOf('../../image.npy', encodeNpy(noise([1, 3, 8, 8], 1)))), { code: 'data-invalid' });
    assert.ok(!readdirSync(root).includes('image.npy'));
  });

  test('random samples of absurd size are refused', async () => {
    for (const shape of [[2 ** 20, 2 ** 20], [2 ** 31 - 1]]) {
      await assert.rejects(openData({ paths: ['random:1'] }, [{ name: 'x', dtype: 'float32', shape }]), { code: 'data-invalid', message: /random samples: .* would take/ });
    }
  });
});
