/**
 * A model of gigabytes whose weights become 4 bits in blocks: time and peak memory beside the reference tool, and beside a plain copy of as many
 * bytes. Writes bench/results/weight-only.md. Needs 8 GB of disk for its temporary files. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/weight-only.js [LAYERS] [WIDTH]      (default: 48 4096, 3.2 GB)
 *
 * The reference needs onnx_ir beside its other packages.
 */
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { modelSize, readModel } from '../src/onnx/read-model.js';
import { writeModel } from '../src/onnx/write-model.js';
import { sharedPool } from '../src/quantization/work-pool.js';
import { heading, paragraph } from '../src/report/document.js';
import { bytes, NOT_AVAILABLE } from '../src/report/format.js';
import { repositoryRoot, scratchFolder } from './lib/paths.js';
import { findPeer, peerScript } from './lib/peer.js';
import { columns, contextFacts, writeResults } from './lib/results.js';
import { watchProcess, type Watched } from './lib/watch-process.js';
import { largeMatmul } from './models/large-matmul.js';

const [layers = 48, width = 4096] = process.argv.slice(2).map(Number);
const folder = scratchFolder();
const model = join(folder, 'model.onnx');
const CONTRIB = ['--mode', 'weight-only', '--format', 'contrib'] as const;
/** 4 bits and a scale of 32 for each block of 32: an eighth and a thirty-second of the floats. */
const WRITTEN_SHARE = 1 / 8 + 1 / 32;

/** Ways of making the model small that both tools have: the options of each. */
const WAYS = [
  { name: 's4 weights', qdq: ['--weight-type', 's4'], reference: ['--symmetric'] },
  { name: 'u4 weights with zero points', qdq: ['--weight-type', 'u4'], reference: [] },
] as const;

/** Seconds that reading the weights and writing as many bytes as the result has takes, with nothing done in between. */
async function plainCopy(): Promise<number> {
  const path = join(folder, 'copy');
  const start = performance.now();
  const target = await open(path, 'w');
  for await (const chunk of createReadStream(`${model}.data`, { highWaterMark: 8 << 20 })) {
    await target.write((chunk as Buffer).subarray(0, Math.ceil((chunk as Buffer).length * WRITTEN_SHARE)));
  }
  await target.sync();
  await target.close();
  const seconds = (performance.now() - start) / 1000;
  await rm(path);
  return seconds;
}

/** What a tool took, and the bytes that it wrote; its files are removed. */
async function measure(program: string, args: readonly string[], output: string): Promise<Watched & { readonly sizeBytes: number | null }> {
  const watched = await watchProcess(program, args);
  const sizeBytes = watched.code === 0 ? modelSize(output, await readModel(output)) : null;
  for (const path of [output, `${output}.data`]) await rm(path, { force: true });
  return { ...watched, sizeBytes };
}

type Measured = Awaited<ReturnType<typeof measure>>;

const { sizeBytes } = await writeModel(model, largeMatmul(layers, width), { externalData: 'always' });
const rate = (seconds: number) => `${Math.round(sizeBytes / seconds / 1e6)} MB/s`;

function cells(name: string, { seconds, peakBytes, code, stderr, sizeBytes: written }: Measured, ours?: Measured): string[] {
  if (code !== 0) return [name, `failed: ${stderr.trim().split('\n').at(-1)}`, '', '', '', '', ''];
  const ratio = (theirs: number | null, own: number | null | undefined) => (theirs !== null && own ? (theirs / own).toFixed(1) : '');
  return [
    name,
    seconds.toFixed(1),
    rate(seconds),
    peakBytes === null ? NOT_AVAILABLE : bytes(peakBytes),
    bytes(written!),
    ours ? ratio(seconds, ours.seconds) : '',
    ours ? ratio(peakBytes, ours.peakBytes) : '',
  ];
}

const peer = await findPeer();
const copySeconds = await plainCopy();
const rows: string[][] = [['plain: read all, write as much as the result has, sync', copySeconds.toFixed(1), rate(copySeconds), '', bytes(sizeBytes * WRITTEN_SHARE), '', '']];
for (const [i, { name, qdq, reference }] of WAYS.entries()) {
  const output = join(folder, `${i}.onnx`);
  const ours = await measure(process.execPath, [join(repositoryRoot(), 'bin', 'qdq.js'), 'quantize', model, ...CONTRIB, ...qdq, '--no-verify', '-o', output], output);
  rows.push(cells(`qdq: ${name}`, ours));
  if (peer) rows.push(cells(`reference: ${name}`, await measure(peer.python, [peerScript('weight_only.py'), model, output, ...reference], output), ours));
}
const output = join(folder, 'verified.onnx');
const verified = await measure(process.execPath, [join(repositoryRoot(), 'bin', 'qdq.js'), 'quantize', model, ...CONTRIB, ...WAYS[0].qdq, '-o', output], output);
rows.push(cells(`qdq: ${WAYS[0].name}, the result looked up`, verified));

writeResults('weight-only', 'Weights of gigabytes in 4 bits', [
  contextFacts(peer, [
    ['Model', `${layers} MatMul of ${width}², ${bytes(sizeBytes)} in a side file, just written and so in the file cache as far as memory goes`],
    ['Threads', `${sharedPool().size} for the loops over weights`],
  ]),
  heading('MatMulNBits, rounded to nearest in blocks of 32'),
  paragraph('One run each. Neither tool loads its result, except in the last row. Ratios are those of the reference over qdq of the row above.'),
  {
    kind: 'table',
    whole: true,
    columns: columns('', '>seconds', '>float bytes a second', '>peak memory, child processes included', '>written', '>times as long', '>times the memory'),
    rows,
  },
]);
