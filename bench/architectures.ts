/**
 * Common architectures with random weights: a sentence encoder in the shape of MiniLM, once with static and once with dynamic shapes, MobileNetV2
 * and ResNet50 (bench/models). Latency, integer products and error of what qdq's search finds beside its settings without a search and those of
 * the reference tool, judged by peers/judge.py. Writes bench/results/architectures.md. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/architectures.js
 *
 * Without a Python that has the reference tool only the rows of qdq are written, judged by `qdq compare`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../src/errors.js';
import { writeNpz } from '../src/data/npz.js';
import type { Model } from '../src/graph/model.js';
import { encodeModel } from '../src/onnx/model-codec.js';
import { quantize } from '../src/quantize.js';
import type { QuantizeOptions } from '../src/quantize-options.js';
import { heading, paragraph, type Block } from '../src/report/document.js';
import type { Tensor } from '../src/tensor/tensor.js';
import { encoder, sentence, TOKENS } from './models/encoder.js';
import { mobileNetV2 } from './models/mobilenet-v2.js';
import { picture } from './models/pictures.js';
import { resNet50 } from './models/resnet50.js';
import { floatNodes, judge, type Failure, type Judgement, type JudgingData } from './lib/judge.js';
import { scratchFolder } from './lib/paths.js';
import { findPeer } from './lib/peer.js';
import { runReference, SETTINGS_EXPLAINED } from './lib/reference.js';
import { columns, contextFacts, writeResults } from './lib/results.js';

const SAMPLES = 24;
const PICTURE_SIZE = 224;

interface Architecture {
  readonly title: string;
  readonly build: () => Model;
  readonly data: 'sentences' | 'pictures';
}

const ARCHITECTURES: readonly Architecture[] = [
  { title: 'Encoder, static shapes', build: () => encoder(false), data: 'sentences' },
  { title: 'Encoder, dynamic shapes', build: () => encoder(true), data: 'sentences' },
  { title: 'MobileNetV2', build: () => mobileNetV2(PICTURE_SIZE), data: 'pictures' },
  { title: 'ResNet50', build: () => resNet50(PICTURE_SIZE), data: 'pictures' },
];

const OWN_SETTINGS: Readonly<Record<string, Partial<QuantizeOptions>>> = {
  default: {},
  'static --effort none': { mode: 'static', effort: 'none' },
  dynamic: { mode: 'dynamic' },
  'static --effort none --target ort-x64': { mode: 'static', effort: 'none', target: 'ort-x64' },
  'dynamic --target ort-x64': { mode: 'dynamic', target: 'ort-x64' },
};
const REFERENCE_SETTINGS = ['default', 'minmax', 'percentile', 'entropy', 'dynamic'] as const;

interface Row {
  readonly tool: string;
  readonly setting: string;
  readonly path: string;
  readonly fail?: string;
}

const scratch = scratchFolder();
const peer = await findPeer();
const folders = {
  sentences: await writeSamples('sentences', (i) => sentence(i + 1)),
  pictures: await writeSamples('pictures', (i) => new Map([['input', picture(PICTURE_SIZE, i + 1)]])),
};
const blocks: Block[] = [
  contextFacts(peer, [
    ['Encoder', `6 layers, 384 wide, 12 heads, ${TOKENS} tokens, operator set 17; 36 products with a constant matrix, 12 of two activations; sentences of Zipf-distributed tokens, half of them padded`],
    ['Convolutional nets', `pictures of 3 × ${PICTURE_SIZE} × ${PICTURE_SIZE}`],
    ['Data', `${SAMPLES} samples: even ones calibrate, odd ones judge; random weights`],
    ['Time', 'one thread; float and quantized model by turns for 6 seconds; median of the paired ratios with its 95 % interval'],
  ]),
  paragraph('SQNR in dB: "exact" with products added exactly, as processors with VNNI add them (Q/DQ run as float; not to be had for dynamic models), "here" as the kernels of this processor computed it.'),
  paragraph(SETTINGS_EXPLAINED),
];
for (const { title, build, data } of ARCHITECTURES) {
  console.error(title);
  const model = join(scratch, `${title.replace(/\W+/g, '-')}.onnx`);
  writeFileSync(model, encodeModel(build()));
  const calibration: JudgingData = { folder: folders[data], split: 'even' };
  const rows = [...(await runOurselves(model, calibration)), ...(await runReferences(model, calibration))];
  const paths = rows.flatMap(({ path, fail }) => (fail === undefined ? [path] : []));
  const judged = await judge(peer, model, paths, { folder: folders[data], split: 'odd' }, 6);
  const outcomes = rows.map((row) => (row.fail === undefined ? judged[paths.indexOf(row.path)]! : { fail: row.fail }));
  blocks.push(heading(title), table(rows, outcomes));
}
writeResults('architectures', 'Common architectures', blocks);

async function writeSamples(name: string, sample: (i: number) => ReadonlyMap<string, Tensor>): Promise<string> {
  const path = join(scratch, name);
  mkdirSync(path);
  for (let i = 0; i < SAMPLES; i++) await writeNpz(join(path, `sample${String(i).padStart(2, '0')}.npz`), sample(i));
  return path;
}

async function runOurselves(model: string, calibration: JudgingData): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [setting, options] of Object.entries(OWN_SETTINGS)) {
    const row = { tool: 'qdq', setting, path: `${model}.qdq${rows.length}.onnx` };
    const data = options.mode === 'dynamic' ? {} : { data: [calibration.folder], split: calibration.split };
    try {
      await quantize({ model, output: row.path, threads: 1, ...data, ...options });
      rows.push(row);
    } catch (error) {
      rows.push({ ...row, fail: messageOf(error) });
    }
  }
  return rows;
}

async function runReferences(model: string, calibration: JudgingData): Promise<Row[]> {
  const rows: Row[] = [];
  for (const setting of peer ? REFERENCE_SETTINGS : []) {
    const path = `${model}.${setting}.onnx`;
    const run = await runReference(peer!, model, calibration, path, setting);
    rows.push({ tool: 'reference', setting, path, ...('fail' in run ? { fail: run.fail } : {}) });
  }
  return rows;
}

function table(rows: readonly Row[], outcomes: readonly (Judgement | Failure)[]): Block {
  return {
    kind: 'table',
    columns: columns('Tool', 'Setting', '>fp32 ms', '>int8 ms', '>Speed-up', '>Integer products', 'Float products', '>With constant weights in float', '>Q/DQ left', '>SQNR exact', '>SQNR here', '>Size'),
    rows: rows.map(({ tool, setting }, i) => [tool, setting, ...cells(outcomes[i]!)]),
  };
}

function cells(outcome: Judgement | Failure): string[] {
  if ('fail' in outcome) return [`fails: ${outcome.fail.slice(0, 140)}`];
  const { fp32Ms, candidateMs, speedup, integer, float, floatWeighted, qdq, exactSqnr, sqnr, sizeRatio } = outcome;
  const decibels = (values: readonly (number | null)[] | null) => values?.map((value) => value?.toFixed(1) ?? '—').join(' / ') ?? '—';
  return [
    fp32Ms.toFixed(1),
    candidateMs.toFixed(1),
    speedup ? `${speedup.median.toFixed(2)} [${speedup.low.toFixed(2)}, ${speedup.high.toFixed(2)}]` : '—',
    String(integer),
    floatNodes(outcome) === 0 ? '0' : Object.entries(float).map(([kind, count]) => `${count} ${kind}`).join(', '),
    String(floatWeighted ?? '—'),
    String(qdq),
    decibels(exactSqnr),
    decibels(sqnr),
    sizeRatio.toFixed(3),
  ];
}
