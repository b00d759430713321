/** How one compute node of a model runs. */
export interface IntegerNode {
  readonly name: string;
  readonly opType: string;
  /** null where no kernel that ran shows it, which only onnxruntime-web leaves open. */
  readonly runsAs: 'integer' | 'float' | 'mixed' | null;
  /** Operator of the fused graph that stands in its place; null as above. */
  readonly kernel: string | null;
  /** Type of its weight as the file stores it, such as "s8 per channel"; null where no input is constant. */
  readonly weights: string | null;
  /** Multiply–accumulates of one run; null without a run. */
  readonly macs: number | null;
  /** Median time of one run; null without a profiled run. */
  readonly timeMs: number | null;
  /** Why it runs in float; null where it runs on integers. */
  readonly reason: string | null;
}

/** Where the time of one run went, in milliseconds: sums of the nodes' median times. */
export interface TimeSplit {
  readonly totalMs: number;
  /** Compute nodes, by the arithmetic that they ran in. */
  readonly computeMs: { readonly integer: number; readonly float: number };
  /** Other nodes that worked on integers: QLinearAdd and its like, and what moves elements. */
  readonly otherIntegerMs: number;
  /** QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear. */
  readonly conversionMs: number;
  /** All that is left, by operator, the slowest first. */
  readonly otherMs: Readonly<Record<string, number>>;
}

/** The answer to "does this model run on integers?". */
export interface IntegerReport {
  /** For example "onnxruntime-node 1.30.0". */
  readonly runtime: string;
  /** `wasm` is onnxruntime-web, which cannot write its fused graph: all that is said about kernels comes from the profile of a run. */
  readonly provider: 'cpu' | 'wasm';
  /** Threads that ran, where the runtime tells: onnxruntime-web does. */
  readonly threads?: number;
  /** Processor and the instruction sets that matter for integers. */
  readonly cpu: string;
  /** Compute nodes of the model as it came in, after constant folding. */
  readonly computeNodes: number;
  /** null where `runsAs` of a node is. */
  readonly integerNodes: number | null;
  /** Share of multiply–accumulates in integer kernels; null without a run. */
  readonly macsShare: number | null;
  /** Share of measured node time in integer kernels; null without a run. */
  readonly timeShare: number | null;
  /** Where that time went; null without a run. */
  readonly time: TimeSplit | null;
  /** Q and DQ nodes that survive fusion and convert for no integer kernel; null where there is no fused graph to see them in. */
  readonly danglingQdqNodes: number | null;
  readonly weightBytes: {
    /** Bytes of all constants in the file that stand for real numbers: weights and biases, float or quantized, with scales and zero points; the zero points of 32-bit biases, all 0, are no part of it. */
    readonly total: number;
    /** Of them, stored as integers: 16 bits or fewer, and biases of 32. */
    readonly integer: number;
    /** The same in the graph that the runtime keeps in memory: less where it turns integers back into floats, more where it quantizes weights as it loads them; null where there is no fused graph. */
    readonly residentInteger: number | null;
  };
  readonly nodes: readonly IntegerNode[];
}

/** A node whose kernel was found in the fused graph. */
export interface FusedNode extends IntegerNode {
  readonly runsAs: 'integer' | 'float' | 'mixed';
  readonly kernel: string;
}

/** A report from the fused graph, which leaves nothing open. */
export interface FusedReport extends IntegerReport {
  readonly integerNodes: number;
  readonly danglingQdqNodes: number;
  readonly weightBytes: IntegerReport['weightBytes'] & { readonly residentInteger: number };
  readonly nodes: readonly FusedNode[];
}

/** The report of the other nodes: counts and the share of multiply–accumulates. Times and bytes stay those of the whole model. */
export function withoutNodes(report: FusedReport, isLeftOut: (node: FusedNode) => boolean): FusedReport {
  const nodes = report.nodes.filter((node) => !isLeftOut(node));
  if (nodes.length === report.nodes.length) return report;
  const integer = nodes.filter(({ runsAs }) => runsAs === 'integer');
  const macsOf = (those: readonly FusedNode[]) => those.reduce((sum, { macs }) => sum + (macs ?? 0), 0);
  const macsShare = report.macsShare === null || macsOf(nodes) === 0 ? null : macsOf(integer) / macsOf(nodes);
  return { ...report, computeNodes: nodes.length, integerNodes: integer.length, macsShare, nodes };
}
