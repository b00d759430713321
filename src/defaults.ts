import { RANGE_DEFAULTS, type RangeMethod } from './calibration/choose-range.js';
import type { ExternalDataMode } from './onnx/external-data-modes.js';
import { DEFAULT_TARGET } from './quantization/target.js';

/** Ways into integers that `quantize` has. */
export const QUANTIZE_MODES = ['auto', 'static', 'dynamic', 'qat', 'weight-only'] as const;
export type QuantizeMode = (typeof QUANTIZE_MODES)[number];

/** Forms of a quantized model: float operators between Q and DQ, operators on integers, or the runtime's own operators (weight-only). */
export const QUANTIZE_FORMATS = ['qdq', 'qoperator', 'contrib'] as const;
export type QuantizeFormat = (typeof QUANTIZE_FORMATS)[number];

/** Sets of files that other programs look for. */
export const PRESETS = ['transformers.js'] as const;
export type PresetName = (typeof PRESETS)[number];

/** How much `quantize` measures to make the model faster. */
export const EFFORTS = ['none', 'normal', 'thorough'] as const;
export type Effort = (typeof EFFORTS)[number];

/** What the search looks for among plans inside the error budget. */
export const PREFERENCES = ['speed', 'integer', 'size'] as const;
export type Preference = (typeof PREFERENCES)[number];

/** Defaults of `quantize`. Apart from the verb, so that showing them loads no runtime. */
export const QUANTIZE_DEFAULTS = {
  mode: 'auto' as QuantizeMode,
  method: 'auto' as 'auto' | RangeMethod,
  percentile: RANGE_DEFAULTS.percentile,
  target: DEFAULT_TARGET,
  effort: 'normal' as Effort,
  minSqnr: 20,
  prefer: 'speed' as Preference,
  externalData: 'auto' as ExternalDataMode,
} as const;

/** Defaults of `compare` and `run`. */
export const TIMING_DEFAULTS = { runs: 50, warmup: 5 } as const;
