import type { RangeMethod } from './calibration/choose-range.js';
import type { Effort, QuantizeMode } from './defaults.js';
import type { ExternalDataMode } from './onnx/external-data-modes.js';
import type { NodeFilters } from './quantization/filters.js';
import type { TargetName } from './quantization/target.js';
import type { QuantizedType } from './tensor/affine.js';
import type { DataOptions, VerbOptions } from './verb-options.js';

/** Options of `quantize`. */
export interface QuantizeOptions extends VerbOptions, DataOptions, NodeFilters {
  /** Path of the float model. */
  readonly model: string;
  /** Path of the model to write; may be absent with `dryRun`. */
  readonly output?: string | undefined;
  readonly mode?: QuantizeMode | undefined;
  /** Path of a table that `calibrate` wrote. */
  readonly calibration?: string | undefined;
  readonly method?: 'auto' | RangeMethod | undefined;
  /** For method percentile: share of elements inside the range, in percent. */
  readonly percentile?: number | undefined;
  readonly exact?: boolean | undefined;
  readonly target?: TargetName | undefined;
  readonly activationType?: QuantizedType | undefined;
  readonly weightType?: QuantizedType | undefined;
  readonly perTensor?: boolean | undefined;
  readonly symmetricActivations?: boolean | undefined;
  readonly reduceRange?: boolean | undefined;
  /** `normal` leaves nodes in float where that is faster on this machine, which takes data; `none` measures nothing for the plan. */
  readonly effort?: Effort | undefined;
  /** With effort: SQNR in dB that every output is to keep (default 20). */
  readonly minSqnr?: number | undefined;
  /** Path of a JSON file with ranges and nodes to keep in float. */
  readonly overrides?: string | undefined;
  /** Whether weights go to a side file: as the input has them or their size asks for it (`auto`), always, or never. */
  readonly externalData?: ExternalDataMode | undefined;
  /** Make the plan and write nothing. */
  readonly dryRun?: boolean | undefined;
  /** Look up in the fused graph what the written model runs as, and measure it where there is data (default true). */
  readonly verify?: boolean | undefined;
}
