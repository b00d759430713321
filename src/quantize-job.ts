import type { Confirmation } from './confirm-plan.js';
import type { FrozenValues } from './data/frozen-inputs.js';
import type { DataSpec } from './data/data-spec.js';
import type { Model } from './graph/model.js';
import type { ListedSample, SamplePartition } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import type { Warning } from './progress.js';
import type { Decision, QuantizationPlan } from './quantization/plan.js';
import type { TargetName } from './quantization/target.js';
import type { QuantizeOptions } from './quantize-options.js';
import type { RuntimeHost } from './runtime/host.js';
import type { FusedReport } from './runtime/integer-report.js';
import type { MethodTrial } from './search/choose-method.js';
import type { PlanRecord } from './search/plan-record.js';
import type { SearchResult } from './search/search-result.js';
import type { SlowNode } from './search/slow-nodes.js';
import type { Stopwatch } from './stopwatch.js';

/** What every mode of `quantize` starts from. */
export interface QuantizeJob {
  readonly host: RuntimeHost;
  readonly options: QuantizeOptions;
  /** With inputs frozen, where that was asked for. */
  readonly model: Model;
  /** Values that inputs are frozen at; undefined where none are. */
  readonly frozen: FrozenValues | undefined;
  readonly data: DataSpec | undefined;
  /** The samples of the data, being listed while the model is prepared; with digests where a table is given. */
  readonly listed: Promise<readonly ListedSample[]> | undefined;
  readonly clock: Stopwatch;
  readonly warn: (warning: Warning) => void;
}

/** One node of the model and what became of it. */
export interface QuantizedNode {
  readonly name: string;
  readonly opType: string;
  readonly decision: Decision;
  readonly reason: string | null;
}

/** What every mode of `quantize` gives. */
export interface QuantizedModel {
  readonly mode: 'static' | 'dynamic' | 'qat' | 'weight-only';
  readonly target: TargetName;
  /** Range method used. */
  readonly method: string;
  /** What each method gave, where several were tried. */
  readonly methods: readonly MethodTrial[];
  /** What the search tried; absent where there was none. */
  readonly search?: (Pick<SearchResult, 'candidates' | 'cleanSpeedup' | 'integerNodes' | 'noGain' | 'weighed'> & { readonly confirmations: readonly Confirmation[] }) | undefined;
  readonly plan: QuantizationPlan;
  /** All that was decided, so that it can be replayed; absent where the mode decides nothing by measurement. */
  readonly record?: PlanRecord;
  readonly model: Model;
  readonly changes: readonly Change[];
  /** What it runs as; null without verification, and where that waits for the file. */
  readonly integer: FusedReport | null;
  /** Whether what it runs as is to be looked up in the file: a copy to look at would take as much disk and time again. */
  readonly verifyWritten: boolean;
  /** File to judge it against, where that is not the model that came in. */
  readonly baseline?: string;
  /** Which samples may judge it; undefined without data. */
  readonly samples: SamplePartition | undefined;
  /** Whether this machine cannot show what the target runs, so that only what would fuse there was looked up. */
  readonly foreignTarget: boolean;
  /** Finds the nodes that cost time on integers; absent where that cannot be measured. */
  readonly findSlowNodes?: (() => Promise<readonly SlowNode[]>) | undefined;
  /** Whether sums of u8 × s8 products can leave 16 bits, which only newer processors add exactly. */
  readonly needsExactProducts: boolean;
}
