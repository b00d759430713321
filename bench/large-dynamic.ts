/**
 * A model of gigabytes quantized dynamically: time and peak memory beside the reference tool, and beside a plain copy of as many bytes.
 * Writes bench/results/large-dynamic.md. Needs 9 GB of disk for its temporary files. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/large-dynamic.js [LAYERS] [WIDTH]      (default: 48 4096, 3.2 GB)
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { writeModel } from '../src/onnx/write-model.js';
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

const { sizeBytes } = await writeModel(model, largeMatmul(layers, width), { externalData: 'always' });
const quantize = (name: string, ...more: string[]) =>
  watchProcess(process.execPath, [join(repositoryRoot(), 'bin', 'qdq.js'), 'quantize', model, '--mode', 'dynamic', '-o', join(folder, name), ...more]);
const peer = await findPeer();
const copySeconds = await plainCopy();
const runs: [string, Watched][] = [
  ['qdq, without verification, as the reference', await quantize('plain.onnx', '--no-verify')],
  ['qdq, the result loaded and looked up', await quantize('verified.onnx')],
];
if (peer) runs.push(['reference, quantize_dynamic', await watchProcess(peer.python, ['-c', REFERENCE, model, join(folder, 'reference.onnx')])]);
const rate = (seconds: number) => `${Math.round(sizeBytes / seconds / 1e6)} MB/s`;

writeResults('large-dynamic', 'A model of gigabytes, quantized dynamically', [
  contextFacts(peer, [['Model', `${layers} MatMul of ${width}², ${bytes(sizeBytes)} in a side file, just written and so in the file cache as far as memory goes`]]),
  {
    kind: 'table',
    whole: true,
    columns: columns('', '>seconds', '>float bytes a second', '>peak memory, child processes included'),
    rows: [
      ['plain: read all, write a quarter, sync', copySeconds.toFixed(1), rate(copySeconds), ''],
      ...runs.map(([name, { seconds, peakBytes, code, stderr }]) => [
        name,
        code === 0 ? seconds.toFixed(1) : `failed: ${stderr.trim().split('\n').at(-1)}`,
        code === 0 ? rate(seconds) : '',
        peakBytes === null ? '' : bytes(peakBytes),
      ]),
    ],
  },
]);
