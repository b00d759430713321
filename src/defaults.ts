import { RANGE_DEFAULTS, type RangeMethod } from './calibration/choose-range.js';
import { DEFAULT_TARGET } from './quantization/target.js';

/** Ways into integers that `quantize` has. */
export const QUANTIZE_MODES = ['auto', 'static', 'dynamic', 'weight-only'] as const;
export type QuantizeMode = (typeof QUANTIZE_MODES)[number];

/** Sets of files that other programs look for. */
export const PRESETS = ['transformers.js'] as const;
export type PresetName = (typeof PRESETS)[number];

/** How much `quantize` measures to make the model faster. */
export const EFFORTS = ['none', 'normal'] as const;
export type Effort = (typeof EFFORTS)[number];

/** Defaults of `quantize`. Apart from the verb, so that showing them loads no runtime. */
export const QUANTIZE_DEFAULTS = {
  mode: 'auto' as QuantizeMode,
  method: 'auto' as 'auto' | RangeMethod,
  percentile: RANGE_DEFAULTS.percentile,
  target: DEFAULT_TARGET,
  effort: 'none' as Effort,
  minSqnr: 20,
} as const;

/** Defaults of `compare` and `run`. */
export const TIMING_DEFAULTS = { runs: 50, warmup: 5 } as const;
