import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join } from 'node:path';
import { test } from 'node:test';
import { modelInputs } from '../../src/data/model-inputs.js';
import { openData } from '../../src/data/open-data.js';
import { readModel } from '../../src/onnx/read-model.js';
import { quantize } from '../../src/index.js';
import { transformersJsRecipes } from '../../src/quantize-preset.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { noChromium, pageResult } from '../helpers/chromium.js';
import { runModel, sqnrDb } from '../helpers/run-model.js';
import { floatSampleModels } from '../helpers/shared-models.js';
import { temporaryFolder } from '../helpers/temporary-folder.js';

const PAGE_TIMEOUT_MS = 120_000;
const SAMPLES = 2;

/**
 * How far apart the outputs of a browser and of onnxruntime-node may be, as SQNR in dB. float16: both compute in float32 and round to float16
 * between nodes, but fuse other nodes, and so round at other places (91 dB and more seen). Dynamic: integer sums are exact on both; float sums
 * before them may tip a value over to the next of 256 steps (140 dB and more, mostly equal, seen). Blocks: onnxruntime-node rounds
 * activations to 8 bits too, at accuracy level 4, and WebAssembly multiplies floats (46 to 61 dB seen).
 */
const LEAST_SQNR_DB: Readonly<Record<string, number>> = { _fp16: 60, _quantized: 50, _int8: 50, _uint8: 50, _q4: 35, _q4f16: 35 };

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

async function samplesOf(model: string): Promise<ReadonlyMap<string, Tensor>[]> {
  const { graph } = await readModel(model);
  const data = await openData({ paths: [join(dirname(model), 'test')], limit: SAMPLES }, modelInputs(graph));
  const samples: ReadonlyMap<string, Tensor>[] = [];
  for await (const { inputs } of data) samples.push(inputs);
  return samples;
}

function plainFeeds(feeds: ReadonlyMap<string, Tensor>): PlainFeeds {
  return Object.fromEntries([...feeds].map(([name, tensor]) => [name, { type: tensor.dtype, dims: tensor.dims, base64: Buffer.from(tensor.storage.read()).toString('base64') }]));
}

/** A file for the browser, and what it is fed with. */
interface Job {
  /** Name of the sample and of the file. */
  readonly model: string;
  readonly suffix: string;
  readonly path: string;
  readonly samples: readonly ReadonlyMap<string, Tensor>[];
}

async function runInBrowser(jobs: readonly Job[]): Promise<PageResult> {
  const plain = JSON.stringify(jobs.map(({ model, samples }) => ({ model, samples: samples.map(plainFeeds) })));
  return pageResult<PageResult>(async (path) => {
    if (path === '/') return { type: 'text/html', body: PAGE };
    if (path === '/job.json') return { type: 'application/json', body: plain };
    const job = jobs.find(({ model }) => path === `/models/${model}`);
    if (job) return { type: 'application/octet-stream', body: await readFile(job.path) };
    const name = basename(path);
    return path === `/ort/${name}` ? { type: TYPES[extname(name)] ?? 'application/octet-stream', body: await readFile(join(ortFolder, name)) } : undefined;
  }, PAGE_TIMEOUT_MS);
}

async function jobsOf({ name, path }: { readonly name: string; readonly path: string }, folder: string): Promise<Job[]> {
  const samples = await samplesOf(path);
  assert.equal(samples.length, SAMPLES);
  // Weights in 7 bits, so that kernels of x64 without VNNI do not saturate where those of WebAssembly are exact.
  const jobs: Job[] = [];
  for (const { suffix, options } of transformersJsRecipes(await readModel(path))) {
    const model = `${dirname(name)}${suffix}.onnx`;
    await quantize({ model: path, output: join(folder, model), verify: false, target: 'ort-x64', ...options });
    jobs.push({ model, suffix, path: join(folder, model), samples });
  }
  return jobs;
}

test('files of --preset transformers.js load in a browser, and compute there what they do in onnxruntime-node', { skip: noChromium }, async (t) => {
  const folder = temporaryFolder(t);
  const jobs: Job[] = [];
  for (const sample of floatSampleModels()) jobs.push(...(await jobsOf(sample, folder)));
  assert.equal(jobs.length, 2 * Object.keys(LEAST_SQNR_DB).length);
  const result = await runInBrowser(jobs);
  assert.deepEqual(Object.entries(result).filter(([, { error }]) => error !== undefined), []);
  for (const { model, suffix, path, samples } of jobs) {
    const bytes = await readFile(path);
    for (const [i, feeds] of samples.entries()) {
      for (const [tensor, expected] of await runModel(bytes, feeds)) {
        const dB = sqnrDb(expected, Float64Array.from(result[model]!.outputs![i]![tensor]!));
        assert.ok(dB >= LEAST_SQNR_DB[suffix]!, `${model}, sample ${i}, ${tensor}: ${dB} dB`);
      }
    }
  }
});
