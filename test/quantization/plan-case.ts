import type { Range, StaticOptions } from '../../src/quantization/plan-static.js';
import type { GraphBuilder } from '../helpers/graph-builder.js';

/** A small float model, the plan that is made for it and what onnxruntime then runs. */
export interface PlanCase {
  readonly name: string;
  readonly build: (g: GraphBuilder) => void;
  /** Operator set of the model, 13 unless told otherwise. */
  readonly opset?: number;
  readonly options?: Partial<StaticOptions>;
  /** Names of nodes that the user keeps in float. */
  readonly exclude?: readonly string[];
  /** Nodes whose exclusion lets the runtime itself move Q or DQ across an operator that then does not fuse. */
  readonly danglesWithout?: readonly string[];
  /** Ranges for the plan's text; values without one take [−1, 3]. */
  readonly ranges?: Readonly<Record<string, Range>>;
  readonly plan: string;
  /** Text of the fused graph. */
  readonly fused: string;
  /** Least SQNR of any output in dB, 25 unless told otherwise. */
  readonly leastSqnrDb?: number;
}
