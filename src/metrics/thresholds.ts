import type { OutputError } from './output-error.js';

/** What a user asked a comparison to reach; what is absent is not checked. */
export interface ThresholdLimits {
  /** dB, of the worst output. */
  readonly minSqnr?: number | undefined;
  /** Share 0 … 1, of the worst output. */
  readonly minAgreement?: number | undefined;
  /** In the unit of the task metric. */
  readonly maxDrop?: number | undefined;
  /** Ratio of baseline to candidate time, of the median. */
  readonly minSpeedup?: number | undefined;
  /** Share 0 … 1 of compute nodes that run as integers. */
  readonly minInteger?: number | undefined;
  /** Ratio of candidate to baseline file size. */
  readonly maxSize?: number | undefined;
}

/** The figures of a comparison that limits apply to; null for what could not be had. */
export interface ThresholdFigures {
  readonly outputs: readonly OutputError[];
  readonly drop: number | null;
  readonly speedup: { readonly median: number } | null;
  readonly integer: { readonly computeNodes: number; readonly integerNodes: number | null } | null;
  readonly sizeRatio: number | null;
}

/** One limit and what became of it. */
export interface ThresholdCheck {
  /** The long option without its dashes, such as `min-sqnr`. */
  readonly name: ThresholdName;
  readonly limit: number;
  /** Null where the figure could not be had, which does not meet the limit. */
  readonly value: number | null;
  readonly met: boolean;
  /** The output that `value` is from; null where the figure is not one of an output. */
  readonly output: string | null;
}

/** A figure and the output that it is from. */
interface Figure {
  readonly value: number | null;
  readonly output: string | null;
}

const ROWS = [
  { name: 'min-sqnr', key: 'minSqnr', figure: ({ outputs }) => worstSqnr(outputs) },
  { name: 'min-agreement', key: 'minAgreement', figure: ({ outputs }) => worstAgreement(outputs) },
  { name: 'max-drop', key: 'maxDrop', figure: ({ drop }) => whole(drop) },
  { name: 'min-speedup', key: 'minSpeedup', figure: ({ speedup }) => whole(speedup?.median ?? null) },
  { name: 'min-integer', key: 'minInteger', figure: ({ integer }) => whole(integerShare(integer)) },
  { name: 'max-size', key: 'maxSize', figure: ({ sizeRatio }) => whole(sizeRatio) },
] as const satisfies readonly { name: string; key: keyof ThresholdLimits; figure: (figures: ThresholdFigures) => Figure }[];

/** The thresholds by their long option. */
export type ThresholdName = (typeof ROWS)[number]['name'];

/**
 * Every limit that was given, in the order of the options, with the figure it applies to. A figure equal to its limit meets it.
 *
 * `min-sqnr` judges the float outputs, or all where none is float; `min-agreement` the outputs that have an agreement. Outputs
 * without elements are passed over. Where the shape of a judged output changed, the value is null, because the
 * remaining samples say nothing about the others.
 */
export function checkThresholds(limits: ThresholdLimits, figures: ThresholdFigures): ThresholdCheck[] {
  return ROWS.flatMap(({ name, key, figure }) => {
    const limit = limits[key];
    if (limit === undefined) return [];
    const { value, output } = figure(figures);
    const met = value !== null && (name.startsWith('min-') ? value >= limit : value <= limit);
    return [{ name, limit, value, met, output }];
  });
}

function worstSqnr(outputs: readonly OutputError[]): Figure {
  const floats = outputs.filter(({ equalShare }) => equalShare === null);
  return worst(floats.length > 0 ? floats : outputs, ({ sqnrDb }) => sqnrDb);
}

function worstAgreement(outputs: readonly OutputError[]): Figure {
  const judged = outputs.filter(({ agreement, shapeMismatches }) => agreement !== null || shapeMismatches > 0);
  return worst(judged, ({ agreement }) => agreement);
}

function worst(outputs: readonly OutputError[], valueOf: (output: OutputError) => number | null): Figure {
  const judged = outputs
    .filter(({ elements, shapeMismatches }) => elements > 0 || shapeMismatches > 0)
    .map((output) => ({ output: output.name, value: output.shapeMismatches > 0 ? null : valueOf(output) }));
  const rank = ({ value }: Figure) => value ?? -Infinity;
  return judged.reduce<Figure | null>((low, next) => (low && rank(low) <= rank(next) ? low : next), null) ?? whole(null);
}

function whole(value: number | null): Figure {
  return { value, output: null };
}

function integerShare(integer: ThresholdFigures['integer']): number | null {
  if (!integer || integer.integerNodes === null || integer.computeNodes === 0) return null;
  return integer.integerNodes / integer.computeNodes;
}
