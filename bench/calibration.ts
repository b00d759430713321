/**
 * What calibration costs beside plain inference on the same samples, and how far sampling moves the scales.
 * Run on a quiet machine: node dist/bench/calibration.js [SAMPLES] [REPEATS] > bench/results/calibration.json
 */
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { chooseRange, RANGE_DEFAULTS, type RangeMethod } from '../src/calibration/choose-range.js';
import { collectTask, type CollectResult } from '../src/calibration/collect.js';
import { encodeNpy } from '../src/data/encode-npy.js';
import type { Model } from '../src/graph/model.js';
import { encodeModel } from '../src/onnx/model-codec.js';
import { readModel } from '../src/onnx/read-model.js';
import { prepareModel } from '../src/prepare-model.js';
import { selectNodes, valuesToObserve } from '../src/quantization/select.js';
import { RuntimeHost } from '../src/runtime/host.js';
import { runtimeVersion } from '../src/runtime/machine.js';
import { mobileNetV2 } from './models/mobilenet-v2.js';
import { picture } from './models/pictures.js';
import { resNet50 } from './models/resnet50.js';
import { plainRunTask } from './plain-run.js';

const PICTURES = 64;
const SIZE = 224;
const [many = 640, repeats = 3, memorySamples = 2_000] = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), 'qdq-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

/** Folders of 64, many and very many samples; the same pictures over and over. */
function writePictures(counts: readonly number[]): Map<number, string> {
  const originals = Array.from({ length: PICTURES }, (_, i) => {
    const path = join(folder, `picture${i}.npy`);
    writeFileSync(path, encodeNpy(picture(SIZE, i + 1)));
    return path;
  });
  return new Map(
    counts.map((count) => {
      const path = join(folder, `data${count}`);
      mkdirSync(path, { recursive: true });
      for (let i = 0; i < count; i++) linkSync(originals[i % PICTURES]!, join(path, `${String(i).padStart(6, '0')}.npy`));
      return [count, path];
    }),
  );
}

/** Runs work in a child process of its own, so that its peak of memory is its own too. */
async function alone<T>(work: (host: RuntimeHost) => Promise<T>): Promise<T> {
  const host = new RuntimeHost();
  try {
    return await work(host);
  } finally {
    await host.close();
  }
}

async function prepare(name: string, model: Model): Promise<{ modelPath: string; names: readonly string[] }> {
  const path = join(folder, `${name}.onnx`);
  writeFileSync(path, encodeModel(model));
  const prepared = await alone(async (host) => prepareModel(host, await readModel(path), folder));
  writeFileSync(path, encodeModel(prepared.model));
  const selection = selectNodes(prepared.model.graph, prepared.types, { opset: 17 });
  return { modelPath: path, names: valuesToObserve(selection) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

/** Plain inference and calibration by turns; the figure is the median of the ratios, with their least and greatest. */
async function compare(model: { modelPath: string; names: readonly string[] }, data: string, samples: number, exact: boolean) {
  const runs: { plainMs: number; calibrationMs: number; ratio: number }[] = [];
  let result: CollectResult | undefined;
  for (let i = 0; i < repeats; i++) {
    const plain = await alone((host) => host.run(plainRunTask, { modelPath: model.modelPath, data: { paths: [data] } }));
    result = await alone((host) => host.run(collectTask, { ...model, data: { paths: [data] }, exact }));
    runs.push({ plainMs: plain.inferenceMs, calibrationMs: result.durationMs, ratio: result.durationMs / plain.inferenceMs });
  }
  const ratios = runs.map(({ ratio }) => ratio);
  return {
    figures: {
      samples,
      exact,
      runs: repeats,
      plainMsPerSample: median(runs.map(({ plainMs }) => plainMs)) / samples,
      calibrationMsPerSample: median(runs.map(({ calibrationMs }) => calibrationMs)) / samples,
      ratio: median(ratios),
      ratioLow: Math.min(...ratios),
      ratioHigh: Math.max(...ratios),
      peakRssBytes: result!.peakRssBytes,
    },
    tensors: result!.tensors,
  };
}

/** How far the scales of sampled tensors are off, by method: |scale / exact scale − 1|. */
function scaleDeviations(exact: CollectResult['tensors'], sampled: CollectResult['tensors']) {
  const methods: readonly (readonly [string, RangeMethod, number])[] = [
    ['minmax', 'minmax', 100],
    ['percentile 99.99', 'percentile', 99.99],
    ['percentile 99.999', 'percentile', 99.999],
    ['entropy', 'entropy', 100],
    ['mse', 'mse', 100],
  ];
  const names = Object.keys(sampled).filter((name) => sampled[name]!.sampled);
  return methods.map(([label, method, percentile]) => {
    const width = (record: CollectResult['tensors'][string]) => {
      const { min, max } = chooseRange(record, method, { ...RANGE_DEFAULTS, percentile });
      return max - min;
    };
    const deviations = names.map((name) => Math.abs(width(sampled[name]!) / width(exact[name]!) - 1));
    return { method: label, tensors: names.length, median: median(deviations), worst: Math.max(...deviations) };
  });
}

const folders = writePictures([PICTURES, many, memorySamples]);
const report = [];
for (const [name, build] of [['MobileNetV2', mobileNetV2], ['ResNet50', resNet50]] as const) {
  const model = await prepare(name, build(SIZE));
  const exact = await compare(model, folders.get(PICTURES)!, PICTURES, true);
  const exactMany = await compare(model, folders.get(many)!, many, true);
  const grids = await compare(model, folders.get(PICTURES)!, PICTURES, false);
  const gridsMany = await compare(model, folders.get(many)!, many, false);
  const longRun = await alone((host) => host.run(collectTask, { ...model, data: { paths: [folders.get(memorySamples)!] } }));
  const entry = {
    model: name,
    observed: model.names.length,
    calibration: [exact.figures, exactMany.figures, grids.figures, gridsMany.figures],
    memory: [
      { samples: PICTURES, exact: true, peakRssBytes: exact.figures.peakRssBytes },
      { samples: PICTURES, exact: false, peakRssBytes: grids.figures.peakRssBytes },
      { samples: memorySamples, exact: false, peakRssBytes: longRun.peakRssBytes },
    ],
    scales: scaleDeviations(exact.tensors, grids.tensors),
  };
  report.push(entry);
  console.error(`\n${name}: ${entry.observed} values observed`);
  console.error('samples  elements   plain ms  calibration ms   ratio (low … high)   peak MB');
  for (const row of entry.calibration) {
    const ratio = `${row.ratio.toFixed(2)} (${row.ratioLow.toFixed(2)} … ${row.ratioHigh.toFixed(2)})`;
    console.error(
      `${String(row.samples).padStart(7)}  ${(row.exact ? 'all' : 'on grids').padEnd(9)}${row.plainMsPerSample.toFixed(1).padStart(10)}` +
        `${row.calibrationMsPerSample.toFixed(1).padStart(16)}   ${ratio.padEnd(20)}${(row.peakRssBytes / 1e6).toFixed(0).padStart(8)}`,
    );
  }
  for (const { samples, exact: all, peakRssBytes } of entry.memory) {
    console.error(`peak memory with ${samples} samples, ${all ? 'all elements' : 'grids'}: ${(peakRssBytes / 1e6).toFixed(0)} MB`);
  }
  for (const { method, tensors, median: middle, worst } of entry.scales) {
    console.error(`scales by ${method}: off by ${(100 * middle).toFixed(1)} % (median of ${tensors}), at most ${(100 * worst).toFixed(1)} %`);
  }
}
console.log(JSON.stringify({ schema: 'qdq.bench.calibration/1', cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, runtime: runtimeVersion(), models: report }, null, 1));
