import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { modelInputs } from '../../src/data/model-inputs.js';
import { writeNpz } from '../../src/data/npz.js';
import { openData } from '../../src/data/open-data.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readModel } from '../../src/onnx/read-model.js';
import { quantizePreset, type PresetResult } from '../../src/quantize-preset.js';
import { renderMarkdown } from '../../src/report/markdown.js';
import { describePreset } from '../../src/report/preset-report.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { noChromium, pageResult } from '../helpers/chromium.js';
import { smallEncoder, smallSentence } from '../helpers/encoder.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { floatSampleModels } from '../helpers/shared-models.js';

const PAGE_TIMEOUT_MS = 120_000;
const SAMPLES = 2;
const SUFFIXES = ['_fp16', '_quantized', '_int8', '_uint8', '_q4', '_q4f16'];

/**
 * How far apart the outputs of two runtimes may be, as SQNR in dB. float16: both compute in float32 and round to float16 between nodes, but fuse other nodes, and so
 * round at other places (79 dB and more seen). Dynamic: integer sums are exact on both; float sums before them may tip a value over to the
 * next of 256 steps (136 dB and more seen). Blocks: onnxruntime-node rounds activations to 8 bits too, at accuracy
 * level 4, and WebAssembly multiplies floats (43 to 60 dB seen).
 */
const LEAST_SQNR_DB: Readonly<Record<string, number>> = { _fp16: 60, _quantized: 50, _int8: 50, _uint8: 50, _q4: 35, _q4f16: 35 };

/** By how much an error against the float model may be above the stated one in another runtime: roundings fall on other places. */
const SLACK_DB = 1;

const folder = mkdtempSync(join(tmpdir(), 'qdq-preset-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** A model with its files of the preset, and what they are fed with. */
interface Case {
  readonly name: string;
  readonly path: string;
  /** Inputs of each sample. */
  readonly samples: readonly ReadonlyMap<string, Tensor>[];
  readonly output: string;
  readonly result: PresetResult;
}

async function caseOf(name: string, path: string, data: string): Promise<Case> {
  const output = join(folder, name, 'onnx');
  // Weights in 7 bits, so that kernels of x64 without VNNI do not saturate where those of WebAssembly are exact.
  const result = await quantizePreset({ preset: 'transformers.js', model: path, output, data: [data], limit: SAMPLES, threads: 1, target: 'ort-x64' });
  const samples: ReadonlyMap<string, Tensor>[] = [];
  for await (const { inputs } of await openData({ paths: [data], limit: SAMPLES }, modelInputs((await readModel(path)).graph))) samples.push(inputs);
  assert.equal(samples.length, SAMPLES);
  return { name, path, samples, output, result };
}

async function encoderCase(): Promise<Case> {
  const path = join(folder, 'encoder.onnx');
  await writeFile(path, encodeModel(smallEncoder()));
  const data = join(folder, 'sentences');
  await mkdir(data);
  for (let i = 0; i < SAMPLES; i++) await writeNpz(join(data, `${i}.npz`), smallSentence(i + 1));
  return caseOf('encoder', path, data);
}

const NAMES = ['encoder', ...floatSampleModels().map(({ name }) => dirname(name))];
const cases = new Map<string, Case>();
before(async () => {
  cases.set('encoder', await encoderCase());
  for (const { name, path } of floatSampleModels()) cases.set(dirname(name), await caseOf(dirname(name), path, join(dirname(path), 'test')));
});

type Outputs = ReadonlyMap<string, Float64Array>;

/** The outputs of all samples, one after the other, by name. */
function joined(outputs: readonly Outputs[]): Map<string, Float64Array> {
  return new Map([...outputs[0]!.keys()].map((name) => [name, Float64Array.from(outputs.flatMap((of) => [...of.get(name)!]))]));
}

const outputsOf = async (path: string, samples: Case['samples'], runtime: 'node' | 'web') => {
  const model = await readFile(path);
  const outputs: Outputs[] = [];
  for (const feeds of samples) outputs.push(await runModel(model, feeds, { runtime }));
  return joined(outputs);
};

/** Asserts that outputs are as far from those of the float model as the table says, or less. */
async function assertWithinStated({ path, samples, result }: Case, suffix: string, found: Outputs, where: string): Promise<void> {
  const { check } = result.variants.find((variant) => variant.suffix === suffix)!;
  for (const [tensor, expected] of await outputsOf(path, samples, 'node')) {
    const dB = sqnrDb(expected, found.get(tensor)!);
    assert.ok(dB >= check!.sqnrDb[tensor]! - SLACK_DB, `${suffix}, ${tensor} in ${where}: ${dB} dB, stated ${check!.sqnrDb[tensor]}`);
  }
}

for (const name of NAMES) {
  describe(`files of --preset transformers.js for ${name}`, () => {
    test('each is written, loaded and judged', async () => {
      const { output, result } = cases.get(name)!;
      assert.deepEqual(readdirSync(output).sort(), SUFFIXES.map((suffix) => `${basename(result.model.path, '.onnx')}${suffix}.onnx`).sort());
      assert.deepEqual(result.variants.map(({ suffix }) => suffix), SUFFIXES);
      for (const { suffix, check, output: written } of result.variants) {
        for (const stated of Object.values(check!.sqnrDb)) assert.ok(stated! > (suffix.startsWith('_q4') ? 15 : 20), `${suffix}: ${stated}`);
        assert.ok(check!.speedup! > 0);
        // What browsers lack: convolutions with s8 weights.
        const { graph } = await readModel(written!.path);
        for (const { opType, inputs } of graph.nodes) if (opType === 'ConvInteger') assert.equal(graph.initializers.get(inputs[1]!)?.dtype, 'uint8');
      }
      const sizeOf = (suffix: string) => result.variants.find((variant) => variant.suffix === suffix)!.output!.sizeBytes;
      assert.ok(sizeOf('_q4f16') < sizeOf('_fp16') && sizeOf('_fp16') < result.model.sizeBytes * 0.6);
      const text = renderMarkdown(describePreset(result, { warnings: true }));
      for (const suffix of SUFFIXES) assert.match(text, new RegExp(`\\| \\w+${suffix}\\.onnx \\|`));
    });

    test('each is within the stated error in onnxruntime-node and in onnxruntime-web', async () => {
      const found = cases.get(name)!;
      for (const { suffix, output } of found.result.variants) {
        for (const runtime of ['node', 'web'] as const) await assertWithinStated(found, suffix, await outputsOf(output!.path, found.samples, runtime), runtime);
      }
    });
  });
}

const ortFolder = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'));
const TYPES: Readonly<Record<string, string>> = { '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm' };

interface PlainTensor {
  readonly type: string;
  readonly dims: readonly number[];
  readonly base64: string;
}

type PlainFeeds = Readonly<Record<string, PlainTensor>>;

/** What the page posts: for each model the outputs of each sample as numbers, or why it has none. */
type PageResult = Readonly<Record<string, { readonly outputs?: readonly Readonly<Record<string, readonly number[]>>[]; readonly error?: string }>>;

const PAGE = `<!doctype html><script type="module">
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const arrays = { float32: Float32Array, int64: BigInt64Array };
  const result = {};
  try {
    const ort = await import('/ort/ort.bundle.min.mjs');
    ort.env.wasm.numThreads = 1;
    for (const { model, samples } of await (await fetch('/job.json')).json()) {
      try {
        const bytes = new Uint8Array(await (await fetch('/models/' + model)).arrayBuffer());
        const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'] });
        const outputs = [];
        for (const sample of samples) {
          const feeds = Object.entries(sample).map(([name, { type, dims, base64 }]) => [name, new ort.Tensor(type, new arrays[type](bytesOf(base64).buffer), dims)]);
          const made = await session.run(Object.fromEntries(feeds));
          outputs.push(Object.fromEntries(Object.entries(made).map(([name, tensor]) => [name, Array.from(tensor.data, Number)])));
        }
        await session.release();
        result[model] = { outputs };
      } catch (error) {
        result[model] = { error: String(error) };
      }
    }
  } catch (error) {
    result.page = { error: String(error) };
  }
  await fetch('/result', { method: 'POST', body: JSON.stringify(result) });
</script>`;

function plainFeeds(feeds: ReadonlyMap<string, Tensor>): PlainFeeds {
  return Object.fromEntries([...feeds].map(([name, tensor]) => [name, { type: tensor.dtype, dims: tensor.dims, base64: Buffer.from(tensor.storage.read()).toString('base64') }]));
}

/** A file for the browser, and what it is fed with. */
interface Job {
  readonly of: Case;
  /** Name under which the page asks for it. */
  readonly model: string;
  readonly suffix: string;
  readonly path: string;
}

async function runInBrowser(jobs: readonly Job[]): Promise<PageResult> {
  const plain = JSON.stringify(jobs.map(({ model, of }) => ({ model, samples: of.samples.map(plainFeeds) })));
  return pageResult<PageResult>(async (path) => {
    if (path === '/') return { type: 'text/html', body: PAGE };
    if (path === '/job.json') return { type: 'application/json', body: plain };
    const job = jobs.find(({ model }) => path === `/models/${model}`);
    if (job) return { type: 'application/octet-stream', body: await readFile(job.path) };
    const name = basename(path);
    return path === `/ort/${name}` ? { type: TYPES[extname(name)] ?? 'application/octet-stream', body: await readFile(join(ortFolder, name)) } : undefined;
  }, PAGE_TIMEOUT_MS);
}

test('all of them load in a browser, and compute there what they do in onnxruntime-node', { skip: noChromium }, async () => {
  const jobs = [...cases.values()].flatMap((of) => of.result.variants.map(({ suffix, output }): Job => ({ of, model: `${of.name}${suffix}.onnx`, suffix, path: output!.path })));
  assert.equal(jobs.length, NAMES.length * SUFFIXES.length);
  const result = await runInBrowser(jobs);
  assert.deepEqual(Object.entries(result).filter(([, { error }]) => error !== undefined), []);
  for (const { of, model, suffix, path } of jobs) {
    const found = joined(result[model]!.outputs!.map((outputs) => new Map(Object.entries(outputs).map(([tensor, values]) => [tensor, Float64Array.from(values)]))));
    await assertWithinStated(of, suffix, found, 'Chromium');
    for (const [tensor, expected] of await outputsOf(path, of.samples, 'node')) {
      const dB = sqnrDb(expected, found.get(tensor)!);
      assert.ok(dB >= LEAST_SQNR_DB[suffix]!, `${model}, ${tensor}: ${dB} dB`);
    }
  }
});
