/**
 * A model of gigabytes quantized dynamically: time and peak memory beside the reference tool, and beside a plain copy of as many bytes; the loops
 * over its weights alone; and every other command on it. Writes bench/results/large-dynamic.md. Needs 9 GB of disk for its temporary files. On a
 * quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/large-dynamic.js [LAYERS] [WIDTH]      (default: 48 4096, 3.2 GB)
 */
import { createReadStream, mkdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { writeNpz } from '../src/data/npz.js';
import { readModel } from '../src/onnx/read-model.js';
import { writeModel } from '../src/onnx/write-model.js';
import { integerStorage } from '../src/quantization/integer-storage.js';
import { measureWeights } from '../src/quantization/weight-work.js';
import { weightScales } from '../src/quantization/weights.js';
import { sharedPool } from '../src/quantization/work-pool.js';
import { DeferredStorage } from '../src/tensor/deferred-storage.js';
import { float32Tensor } from '../src/tensor/tensor.js';
import { heading, paragraph } from '../src/report/document.js';
import { bytes } from '../src/report/format.js';
import { largeMatmul } from './models/large-matmul.js';
import { repositoryRoot, scratchFolder } from './lib/paths.js';
import { findPeer } from './lib/peer.js';
import { columns, contextFacts, writeResults } from './lib/results.js';
import { watchProcess, type Watched } from './lib/watch-process.js';

const [layers = 48, width = 4096] = process.argv.slice(2).map(Number);
const folder = scratchFolder();
const model = join(folder, 'model.onnx');
const REFERENCE = [
  'import sys',
  'from onnxruntime.quantization import quantize_dynamic, QuantType',
  'quantize_dynamic(sys.argv[1], sys.argv[2], weight_type=QuantType.QInt8, per_channel=True, use_external_data_format=True)',
].join('\n');

/** Seconds that reading the weights and writing a quarter as many bytes to disk takes, with nothing done in between. */
async function plainCopy(): Promise<number> {
  const start = performance.now();
  const target = await open(join(folder, 'copy'), 'w');
  let count = 0;
  for await (const chunk of createReadStream(`${model}.data`, { highWaterMark: 8 << 20 })) if (count++ % 4 === 0) await target.write(chunk as Buffer);
  await target.sync();
  await target.close();
  return (performance.now() - start) / 1000;
}

/** Seconds that the two loops over all weights take in the threads of the pool, with nothing written: largest magnitudes, then rounding. */
async function loops(): Promise<{ readonly maxima: number; readonly rounding: number }> {
  const weights = [...(await readModel(model)).graph.initializers.values()];
  const start = performance.now();
  await measureWeights(weights.map((tensor) => ({ tensor, axis: 1 })));
  const middle = performance.now();
  const chunk = 8 << 20;
  const targets = Array.from({ length: sharedPool().size + 1 }, () => new SharedArrayBuffer(chunk));
  const parts = weights.flatMap((tensor) => {
    const storage = integerStorage(tensor, { axis: 1, scales: weightScales(tensor, 1, 127), dtype: 'int8', limit: 127 });
    if (!(storage instanceof DeferredStorage)) throw new TypeError('the weights are in a side file');
    return Array.from({ length: Math.ceil(storage.byteLength / chunk) }, (_, i) => ({ storage, from: i * chunk, length: Math.min(chunk, storage.byteLength - i * chunk) }));
  });
  const next = parts.values();
  await Promise.all(
    targets.map(async (target) => {
      for (const { storage, from, length } of next) await storage.fill!(from, new Uint8Array(target, 0, length));
    }),
  );
  return { maxima: (middle - start) / 1000, rounding: (performance.now() - middle) / 1000 };
}

/** Two samples of four rows. */
async function writeSamples(): Promise<string> {
  const path = join(folder, 'samples');
  mkdirSync(path);
  for (let sample = 0; sample < 2; sample++) {
    const values = float32Tensor(Float32Array.from({ length: 4 * width }, (_, i) => Math.sin(i * (sample + 1.5))));
    await writeNpz(join(path, `${sample}.npz`), new Map([['x', { ...values, dims: [4, width] }]]));
  }
  return path;
}

const { sizeBytes } = await writeModel(model, largeMatmul(layers, width), { externalData: 'always' });
const samples = await writeSamples();
const qdq = (...args: string[]) => watchProcess(process.execPath, [join(repositoryRoot(), 'bin', 'qdq.js'), ...args]);
const out = (name: string) => join(folder, name);
const peer = await findPeer();
const copySeconds = await plainCopy();
const { maxima, rounding } = await loops();
const runs: [string, Watched][] = [
  ['qdq quantize --mode dynamic, without verification, as the reference', await qdq('quantize', model, '--mode', 'dynamic', '-o', out('plain.onnx'), '--no-verify')],
  ['qdq quantize --mode dynamic, the result looked up', await qdq('quantize', model, '--mode', 'dynamic', '-o', out('verified.onnx'))],
];
if (peer) runs.push(['reference, quantize_dynamic', await watchProcess(peer.python, ['-c', REFERENCE, model, out('reference.onnx')])]);
const others: [string, Watched][] = [
  ['qdq inspect', await qdq('inspect', model)],
  ['qdq calibrate, 2 samples', await qdq('calibrate', model, '--data', samples, '-o', out('table.json'))],
  ['qdq quantize --mode static with that table', await qdq('quantize', model, '--mode', 'static', '--calibration', out('table.json'), '-o', out('static.onnx'))],
  ['qdq run, 2 samples and 3 timed runs', await qdq('run', model, '--data', samples, '--runs', '3', '--warmup', '1')],
  ['qdq compare with the dynamic model, the same', await qdq('compare', model, out('verified.onnx'), '--data', samples, '--runs', '3', '--warmup', '1')],
];
const rate = (seconds: number) => `${Math.round(sizeBytes / seconds / 1e6)} MB/s`;
const cells = ([name, { seconds, peakBytes, code, stderr }]: [string, Watched]) => [
  name,
  code === 0 ? seconds.toFixed(1) : `failed: ${stderr.trim().split('\n').at(-1)}`,
  code === 0 ? rate(seconds) : '',
  peakBytes === null ? '' : bytes(peakBytes),
];

writeResults('large-dynamic', 'A model of gigabytes', [
  contextFacts(peer, [
    ['Model', `${layers} MatMul of ${width}², ${bytes(sizeBytes)} in a side file, just written and so in the file cache as far as memory goes`],
    ['Threads', `${sharedPool().size} for the loops over weights`],
  ]),
  heading('Quantized dynamically'),
  {
    kind: 'table',
    whole: true,
    columns: columns('', '>seconds', '>float bytes a second', '>peak memory, child processes included'),
    rows: [
      ['plain: read all, write a quarter, sync', copySeconds.toFixed(1), rate(copySeconds), ''],
      ['the loops alone: largest magnitudes', maxima.toFixed(1), rate(maxima), ''],
      ['the loops alone: rounding', rounding.toFixed(1), rate(rounding), ''],
      ...runs.map(cells),
    ],
  },
  heading('Other commands'),
  paragraph(`Where a model is run, the runtime holds its ${bytes(sizeBytes)} of weights, and those of both models where two are compared.`),
  { kind: 'table', whole: true, columns: columns('', '>seconds', '>float bytes a second', '>peak memory, child processes included'), rows: others.map(cells) },
]);
