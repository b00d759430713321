import { dirname } from 'node:path';
import { chooseRange, RANGE_DEFAULTS, type RangeMethod } from '../../src/calibration/choose-range.js';
import { collect, type CollectResult } from '../../src/calibration/collect.js';
import type { TensorRecord } from '../../src/calibration/tensor-record.js';
import type { Model } from '../../src/graph/model.js';
import { readModel } from '../../src/onnx/read-model.js';
import { writeModel } from '../../src/onnx/write-model.js';
import { prepareModel } from '../../src/prepare-model.js';
import { selectNodes, valuesToObserve } from '../../src/quantization/select.js';
import { RuntimeHost } from '../../src/runtime/host.js';
import { plainRunTask } from './plain-run.js';

/** A model as `qdq calibrate` runs it, and what it observes of it. */
export interface CalibratedModel {
  readonly model: Model;
  readonly modelPath: string;
  readonly names: readonly string[];
}

/** What calibration takes beside plain inference on the same samples. Ratios: median, least, greatest of all pairs of runs. */
export interface CostFigures {
  readonly samples: number;
  readonly exact: boolean;
  readonly runs: number;
  readonly plainMsPerSample: number;
  readonly calibrationMsPerSample: number;
  readonly ratio: number;
  readonly ratioLow: number;
  readonly ratioHigh: number;
  readonly peakRssBytes: number;
}

/** How far scales are off that sampled bins give, as shares of those that all elements give. */
export interface ScaleDeviation {
  readonly method: string;
  readonly tensors: number;
  readonly median: number;
  readonly worst: number;
}

const METHODS: readonly (readonly [name: string, method: RangeMethod, percentile: number])[] = [
  ['minmax', 'minmax', 100],
  ['percentile 99.99', 'percentile', 99.99],
  ['percentile 99.999', 'percentile', 99.999],
  ['entropy', 'entropy', 100],
  ['mse', 'mse', 100],
];

/** Brings a model file into the form that is calibrated, in its place. */
export async function prepareForCalibration(modelPath: string): Promise<CalibratedModel> {
  const { model, types } = await alone(async (host) => prepareModel(host, await readModel(modelPath), dirname(modelPath)));
  const selection = selectNodes(model.graph, types, { opset: model.opsets.get('') ?? 1 });
  await writeModel(modelPath, model);
  return { model, modelPath, names: valuesToObserve(selection) };
}

/** Calibrates in a process of its own, which before that has prepared the model, as it has for `qdq calibrate`. */
export function calibrateOnce({ model, modelPath, names }: CalibratedModel, data: string, exact: boolean): Promise<CollectResult> {
  const externalDataFolder = dirname(modelPath);
  return alone(async (host) => {
    await prepareModel(host, model, externalDataFolder);
    return collect(host, { model, externalDataFolder, names, data: { paths: [data] }, exact });
  });
}

/** Runs plain inference and calibration by turns, each in a process of its own. Gives the last run's observations too. */
export async function compareWithPlain(
  model: CalibratedModel,
  data: string,
  exact: boolean,
  runs: number,
): Promise<{ cost: CostFigures; tensors: CollectResult['tensors'] }> {
  const plain: number[] = [];
  const calibration: number[] = [];
  let last: CollectResult | undefined;
  for (let i = 0; i < runs; i++) {
    plain.push((await alone((host) => host.run(plainRunTask, { modelPath: model.modelPath, data: { paths: [data] } }))).inferenceMs);
    last = await calibrateOnce(model, data, exact);
    calibration.push(last.durationMs);
  }
  const { samples, tensors, peakRssBytes } = last!;
  const ratios = calibration.map((ms, i) => ms / plain[i]!);
  return {
    cost: {
      samples: samples.length,
      exact,
      runs,
      plainMsPerSample: median(plain) / samples.length,
      calibrationMsPerSample: median(calibration) / samples.length,
      ratio: median(ratios),
      ratioLow: Math.min(...ratios),
      ratioHigh: Math.max(...ratios),
      peakRssBytes,
    },
    tensors,
  };
}

/** How far the scales of the sampled tensors are off, by method. */
export function scaleDeviations(exact: CollectResult['tensors'], sampled: CollectResult['tensors']): ScaleDeviation[] {
  const names = Object.keys(sampled).filter((name) => sampled[name]!.sampled);
  return METHODS.map(([name, method, percentile]) => {
    const width = (record: TensorRecord) => {
      const { min, max } = chooseRange(record, method, { ...RANGE_DEFAULTS, percentile });
      return max - min;
    };
    const deviations = names.map((tensor) => Math.abs(width(sampled[tensor]!) / width(exact[tensor]!) - 1));
    return { method: name, tensors: names.length, median: median(deviations), worst: Math.max(...deviations) };
  });
}

async function alone<T>(work: (host: RuntimeHost) => Promise<T>): Promise<T> {
  const host = new RuntimeHost();
  try {
    return await work(host);
  } finally {
    await host.close();
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}
