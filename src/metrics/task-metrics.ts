import { QdqError } from '../errors.js';
import { isFloat } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { classRows, isInTop, type ClassRows } from './class-axis.js';

/** The outputs of one run, by name, in the model's order. */
export type Outputs = Readonly<Record<string, Tensor>>;

/** A metric over all samples seen. */
export interface MetricResult {
  readonly metric: string;
  /** Null without samples, or where the metric gave no finite number. */
  readonly value: number | null;
  /** Labelled items that `value` stands on; a batch of N counts N. */
  readonly samples: number;
}

/** A metric at work on one model: it holds what it has seen. */
export interface TaskMetric {
  /**
   * Takes in the outputs for one sample. Built-in metrics take a class index, or one per row of a batch, as `label`;
   * metrics of users take whatever the labels file holds. Throws QdqError for outputs or labels that do not fit.
   */
  add(outputs: Outputs, label: unknown, sample: string): void;
  result(): MetricResult;
}

/** A metric before it works: a fresh one is created for each model, so that models share no state. */
export interface MetricDefinition {
  readonly name: string;
  /** Which direction is better: decides the sign of a drop. */
  readonly higherIsBetter: boolean;
  create(): TaskMetric;
}

const BUILT_IN: readonly MetricDefinition[] = [
  { name: 'top1', higherIsBetter: true, create: () => topMetric('top1', 1) },
  { name: 'top5', higherIsBetter: true, create: () => topMetric('top5', 5) },
];

/** Names of the built-in metrics. */
export const METRIC_NAMES: readonly string[] = BUILT_IN.map(({ name }) => name);

/**
 * The built-in metric of this name: `top1` and `top5`, the share of labels among the one or five greatest scores. Scores are the
 * first float output with rows of more than one score (see `classRows`), or else the first one-dimensional one.
 * Throws QdqError for other names.
 */
export function builtInMetric(name: string): MetricDefinition {
  const found = BUILT_IN.find((metric) => metric.name === name);
  if (found) return found;
  throw new QdqError(
    'usage',
    `unknown metric "${name}": expected ${METRIC_NAMES.join(' or ')}, or the path of a module`,
    'A metric of your own is given as a path, such as ./metric.mjs.',
  );
}

/** A fresh built-in metric. Throws QdqError for unknown names. */
export function createMetric(name: string): TaskMetric {
  return builtInMetric(name).create();
}

/** How much worse the candidate is, in the metric's unit; negative where it is better, null where a value is missing. */
export function metricDrop(
  metric: Pick<MetricDefinition, 'higherIsBetter'>,
  baseline: number | null,
  candidate: number | null,
): number | null {
  if (baseline === null || candidate === null) return null;
  const drop = metric.higherIsBetter ? baseline - candidate : candidate - baseline;
  // 0.915 − 0.905 is not 0.01 in binary; a limit of 0.01 should hold it.
  return Math.round(drop * 1e12) / 1e12;
}

function topMetric(metric: string, k: number): TaskMetric {
  let hits = 0;
  let samples = 0;
  return {
    add(outputs, label, sample) {
      const { name, tensor, rows, width } = scoresOf(outputs, sample);
      const labels = labelsOf(label, sample);
      if (labels.length !== rows) {
        throw new QdqError(
          'data-invalid',
          `sample "${sample}": expected ${rows} labels, one per row of output "${name}" [${tensor.dims.join(', ')}], ` +
            `received ${labels.length}`,
          'Give one class index per row, or a metric of your own (--metric ./metric.mjs).',
        );
      }
      const wrong = labels.find((index) => index >= width);
      if (wrong !== undefined) {
        throw new QdqError(
          'data-invalid',
          `sample "${sample}": expected a class index below ${width}, the scores of output "${name}", received ${wrong}`,
          'Labels count from 0. Check that the labels belong to this model.',
        );
      }
      const scores = numbersOf(tensor);
      hits += labels.filter((index, row) => isInTop(scores, row * width, width, index, k)).length;
      samples += rows;
    },
    result: () => ({ metric, value: samples > 0 ? hits / samples : null, samples }),
  };
}

interface Scores extends ClassRows {
  readonly name: string;
  readonly tensor: Tensor;
}

function scoresOf(outputs: Outputs, sample: string): Scores {
  const floats = Object.entries(outputs).filter(([, tensor]) => isFloat(tensor.dtype));
  for (const [name, tensor] of floats) {
    const shape = classRows(tensor.dims);
    if (shape) return { name, tensor, ...shape };
  }
  for (const [name, tensor] of floats) {
    const shape = classRows([1, ...tensor.dims]);
    if (tensor.dims.length === 1 && shape) return { name, tensor, ...shape };
  }
  const received = Object.entries(outputs).map(([name, { dtype, dims }]) => `"${name}" ${dtype}[${dims.join(', ')}]`);
  throw new QdqError(
    'data-invalid',
    `sample "${sample}": expected a float output with class scores along its last axis, ` +
      `received ${received.join(', ') || 'no outputs'}`,
    'For other tasks give a metric of your own (--metric ./metric.mjs).',
  );
}

function labelsOf(label: unknown, sample: string): number[] {
  const labels: unknown[] = Array.isArray(label) ? label : [label];
  return labels.map((index) => {
    if (typeof index === 'number' && Number.isInteger(index) && index >= 0) return index;
    throw new QdqError(
      'data-invalid',
      `label of sample "${sample}": expected a class index, received ${index === undefined ? 'nothing' : JSON.stringify(index)}`,
      'Labels are class indices from 0, one per sample, or a list with one per row of a batch.',
    );
  });
}
