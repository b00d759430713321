/**
 * What calibration costs beside plain inference on the same samples, what memory it takes, and how far sampling moves the scales, with
 * MobileNetV2 and ResNet50 of random weights; the reference tool does the same where there is one. Writes bench/results/calibration.md,
 * and all figures as JSON to stdout. On a quiet machine:
 *
 *   QDQ_PEER_PYTHON=… node dist/bench/calibration.js [--few 64] [--many 640] [--memory 2000] [--runs 5] [--only MobileNetV2]
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Model } from '../src/graph/model.js';
import { writeModel } from '../src/onnx/write-model.js';
import { heading, paragraph, type Block, type Cell, type Column } from '../src/report/document.js';
import { bytes, figure, percent } from '../src/report/format.js';
import { calibrateOnce, compareWithPlain, prepareForCalibration, scaleDeviations, type CostFigures, type ScaleDeviation } from './lib/calibration-runs.js';
import { scratchFolder } from './lib/paths.js';
import { askPeer, findPeer, type Peer } from './lib/peer.js';
import { pictureFolders } from './lib/picture-folders.js';
import { columns, contextFacts, writeResults } from './lib/results.js';
import { mobileNetV2 } from './models/mobilenet-v2.js';
import { resNet50 } from './models/resnet50.js';

const PICTURE_SIZE = 224;
const MODELS: Readonly<Record<string, (size: number) => Model>> = { MobileNetV2: mobileNetV2, ResNet50: resNet50 };
/** The most that calibration may take, in times plain inference, by model and by whether every element is counted. */
const LIMITS: Readonly<Record<string, { readonly exact: number; readonly sampled: number }>> = {
  MobileNetV2: { exact: 4.2, sampled: 2 },
  ResNet50: { exact: 2, sampled: 1.7 },
};

interface PeerFigures {
  readonly method: string;
  readonly samples: number;
  readonly inferenceMs?: number;
  readonly calibrationMs?: number;
  readonly peakRssBytes?: number;
  readonly fail?: string;
}

interface ModelFigures {
  readonly model: string;
  readonly observed: number;
  readonly costs: readonly CostFigures[];
  readonly memory: readonly { readonly samples: number; readonly peakRssBytes: number }[];
  readonly scales: readonly ScaleDeviation[];
  readonly peer: readonly PeerFigures[];
}

/** Numbers of samples and runs. */
interface Sizes {
  readonly few: number;
  readonly many: number;
  readonly memory: number;
  readonly runs: number;
}

async function measure(name: string, folder: string, folders: ReadonlyMap<number, string>, peer: Peer | undefined, sizes: Sizes): Promise<ModelFigures> {
  const path = join(folder, `${name}.onnx`);
  await writeModel(path, MODELS[name]!(PICTURE_SIZE));
  const model = await prepareForCalibration(path);
  const [few, many] = [folders.get(sizes.few)!, folders.get(sizes.many)!];
  const exactFew = await compareWithPlain(model, few, true, sizes.runs);
  const sampledFew = await compareWithPlain(model, few, false, 1);
  const exactMany = await compareWithPlain(model, many, true, sizes.runs);
  const sampledMany = await compareWithPlain(model, many, false, sizes.runs);
  const long = await calibrateOnce(model, folders.get(sizes.memory)!, false);
  const peerFigures: PeerFigures[] = [];
  for (const method of peer ? ['minmax', 'percentile', 'entropy'] : []) {
    const [line] = await askPeer<Omit<PeerFigures, 'method' | 'samples'>>(peer!, 'calibrate.py', [path, few, method]);
    peerFigures.push({ method, samples: sizes.few, ...(line ?? { fail: 'it printed nothing' }) });
  }
  return {
    model: name,
    observed: model.names.length,
    costs: [exactFew.cost, exactMany.cost, sampledMany.cost],
    memory: [sampledFew.cost, sampledMany.cost, { samples: sizes.memory, peakRssBytes: long.peakRssBytes }].map(({ samples, peakRssBytes }) => ({ samples, peakRssBytes })),
    scales: scaleDeviations(exactFew.tensors, sampledFew.tensors),
    peer: peerFigures,
  };
}

function blocksOf({ model, observed, costs, memory, scales, peer }: ModelFigures): Block[] {
  const own = costs.map(({ samples, exact, plainMsPerSample, calibrationMsPerSample, ratio, ratioLow, ratioHigh, peakRssBytes }): Cell[] => [
    exact ? 'qdq, every element' : 'qdq, exact extremes and a grid',
    String(samples),
    figure(plainMsPerSample),
    figure(calibrationMsPerSample),
    `${ratio.toFixed(2)} (${ratioLow.toFixed(2)} … ${ratioHigh.toFixed(2)})`,
    String(LIMITS[model]![exact ? 'exact' : 'sampled']),
    bytes(peakRssBytes),
  ]);
  const theirs = peer.map(({ method, samples, inferenceMs, calibrationMs, peakRssBytes, fail }): Cell[] =>
    inferenceMs === undefined || calibrationMs === undefined || peakRssBytes === undefined
      ? [`reference, ${method}`, String(samples), '', '', fail ?? '', '', '']
      : [`reference, ${method}`, String(samples), figure(inferenceMs / samples), figure(calibrationMs / samples), (calibrationMs / inferenceMs).toFixed(1), '', bytes(peakRssBytes)],
  );
  return [
    heading(`${model}: ${observed} values observed`),
    table(columns('Calibration', '>Samples', '>Plain, ms', '>Calibration, ms', '>Ratio', '>At most', '>Peak memory'), [...own, ...theirs]),
    paragraph(`Peak memory with a grid: ${memory.map(({ samples, peakRssBytes }) => `${bytes(peakRssBytes)} with ${samples} samples`).join(', ')}.`),
    table(
      columns('Scales of sampled tensors against those of every element', '>Tensors', '>Median, off by', '>At most'),
      scales.map(({ method, tensors, median, worst }) => [method, String(tensors), percent(median), percent(worst)]),
    ),
  ];
}

function table(columns: readonly Column[], rows: readonly (readonly Cell[])[]): Block {
  return { kind: 'table', columns, rows };
}

const { values } = parseArgs({
  options: {
    few: { type: 'string', default: '64' },
    many: { type: 'string', default: '640' },
    memory: { type: 'string', default: '2000' },
    runs: { type: 'string', default: '5' },
    only: { type: 'string' },
  },
});
const sizes: Sizes = { few: Number(values.few), many: Number(values.many), memory: Number(values.memory), runs: Number(values.runs) };
const peer = await findPeer();
const folder = scratchFolder();
const folders = pictureFolders(folder, PICTURE_SIZE, [sizes.few, sizes.many, sizes.memory]);
const models: ModelFigures[] = [];
for (const name of Object.keys(MODELS).filter((name) => values.only === undefined || values.only === name)) {
  models.push(await measure(name, folder, folders, peer, sizes));
}
console.log(JSON.stringify({ schema: 'qdq.bench.calibration/1', sizes, models }, null, 1));
writeResults('calibration', 'Calibration', [
  contextFacts(peer, [
    ['Plain inference', 'one onnxruntime-node session with its default threads, the runs alone; the reference is beside its own Python session'],
    ['Calibration', `from the start of the task to the finished table: loading, tapping, reading the samples; ${sizes.runs} pairs of runs by turns, median (least … greatest) of their ratios`],
    ['Samples', `64 pictures of ${PICTURE_SIZE} × ${PICTURE_SIZE} with structure at every scale, over and over`],
  ]),
  ...models.flatMap(blocksOf),
]);
