import type { RangeMethod } from './calibration/choose-range.js';
import type { Effort, Preference, QuantizeFormat, QuantizeMode } from './defaults.js';
import { QdqError } from './errors.js';
import type { ExternalDataMode } from './onnx/external-data-modes.js';
import type { NodeFilters } from './quantization/filters.js';
import type { TargetName } from './quantization/target.js';
import type { BlockWeightType, WeightAlgorithm } from './quantization/weight-only-plan.js';
import type { RuntimeName } from './runtime/runtime-names.js';
import type { QuantizedType } from './tensor/affine.js';
import type { DataOptions, FreezeOptions, VerbOptions } from './verb-options.js';

/** Options of `quantize`. */
export interface QuantizeOptions extends VerbOptions, DataOptions, FreezeOptions, NodeFilters {
  /** Path of the float model. */
  readonly model: string;
  /** Path of the model to write; may be absent with `dryRun`. */
  readonly output?: string | undefined;
  readonly mode?: QuantizeMode | undefined;
  /** How integers are written: float operators between Q and DQ, operators on integers (QLinearConv and its like), or weight-only the runtime's own operators (MatMulNBits). */
  readonly format?: QuantizeFormat | undefined;
  /** Path of a table that `calibrate` wrote. */
  readonly calibration?: string | undefined;
  readonly method?: 'auto' | RangeMethod | undefined;
  /** For method percentile: share of elements inside the range, in percent. */
  readonly percentile?: number | undefined;
  readonly exact?: boolean | undefined;
  readonly target?: TargetName | undefined;
  readonly activationType?: QuantizedType | undefined;
  /** Types of 4 bits are for weight-only quantization; float16 converts the whole model. */
  readonly weightType?: QuantizedType | BlockWeightType | 'float16' | undefined;
  /** Weight-only: elements of an output channel that share a scale (default: 32 for 4 bits, the whole channel for 8). */
  readonly blockSize?: number | undefined;
  /** Weight-only, blocks: how scales and zero points are chosen (default: rtn). */
  readonly algorithm?: WeightAlgorithm | undefined;
  /** Weight-only: what stays float becomes float16. */
  readonly float16?: boolean | undefined;
  /** float16: inputs and outputs stay float32 (default true). */
  readonly keepIoTypes?: boolean | undefined;
  /** float16: operator types that stay float32. */
  readonly float32Ops?: readonly string[] | undefined;
  /** Weight-only, format contrib: 4 (default) rounds activations to int8 in each run, 0 multiplies in float. */
  readonly accuracyLevel?: number | undefined;
  readonly perTensor?: boolean | undefined;
  readonly symmetricActivations?: boolean | undefined;
  readonly reduceRange?: boolean | undefined;
  /** `normal` (the default with data) looks for the fastest plan inside the error budget on this machine, `thorough` measures more of everything for that, `none` nothing. */
  readonly effort?: Effort | undefined;
  /** With effort: what is best among plans inside the error budget (default speed). */
  readonly prefer?: Preference | undefined;
  /** With effort, instead of `minSqnr`: largest drop of the task metric, in its unit; needs labels. */
  readonly maxDrop?: number | undefined;
  /** Path of a labels file: class indexes by sample name. */
  readonly labels?: string | undefined;
  /** Task metric: "top1", "top5", or the path of a module. */
  readonly metric?: string | undefined;
  /** With effort: lets the caller end the search early with the best plan so far. */
  readonly earlyStop?: EarlyStop | undefined;
  /** With effort: SQNR in dB that every output is to keep (default 20). */
  readonly minSqnr?: number | undefined;
  /** Path of a record that an earlier run wrote to `planOut`: it is carried out, and nothing is measured to decide. */
  readonly plan?: string | undefined;
  /** Path of a JSON file to write what was decided to. */
  readonly planOut?: string | undefined;
  /** With data: writes nothing where the result is not so many times as fast as the float model. */
  readonly requireSpeedup?: number | undefined;
  /** Path of a JSON file with ranges and nodes to keep in float. */
  readonly overrides?: string | undefined;
  /** Whether weights go to a side file: as the input has them or their size asks for it (`auto`), always, or never. */
  readonly externalData?: ExternalDataMode | undefined;
  /** What the name of a side file adds to that of the output (default: .data). */
  readonly sideFileSuffix?: string | undefined;
  /** Make the plan and write nothing. */
  readonly dryRun?: boolean | undefined;
  /** Look up in the fused graph what the written model runs as, and measure it where there is data (default true). */
  readonly verify?: boolean | undefined;
  /** Where the result is measured against the float model: onnxruntime-node where absent. What runs on integers is looked up there in any case. */
  readonly checkRuntime?: RuntimeName | undefined;
}

/** How a search is ended early. */
export interface EarlyStop {
  /** Called when the search begins; the signal ends it with the best plan so far. */
  begin(): AbortSignal;
  /** Called when it has ended. */
  end(): void;
}

/** The weight type of a mode whose integers take whole bytes; undefined where none was given. Throws a usage error for 4 bits. */
export function byteWeightType({ weightType }: QuantizeOptions): QuantizedType | undefined {
  if (weightType !== 'int4' && weightType !== 'uint4' && weightType !== 'float16') return weightType;
  throw new QdqError('usage', `weights of ${weightType} have no integer kernel beside quantized activations`, 'Take s8 or u8, or --mode weight-only.');
}
