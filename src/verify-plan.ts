import type { Change } from './passes/pass.js';
import { repairPlan } from './quantization/repair.js';
import type { RuntimeHost } from './runtime/host.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { kernelCoverage, type CoverageOptions } from './runtime/kernel-coverage.js';
import { stageModel } from './runtime/staged-model.js';
import type { PlannedModel, Planner } from './search/planner.js';

/** Rounds of repair; each takes something out or changes it once, and real models need one or two. */
const MAX_ROUNDS = 16;

/** A plan that the runtime fuses as it says. */
export interface VerifiedPlan {
  readonly planned: PlannedModel;
  readonly quantized: ReturnType<Planner['quantize']>;
  readonly integer: IntegerReport;
  readonly changes: readonly Change[];
}

/** Carries a plan out, looks at what the runtime makes of it, and repairs the plan until all of it is fused. */
export async function verifyPlan(host: RuntimeHost, planner: Planner, planned: PlannedModel, externalDataFolder: string, options: CoverageOptions = {}): Promise<VerifiedPlan> {
  const changes: Change[] = [];
  const tried = new Set<string>();
  let current = planned;
  for (let round = 0; ; round++) {
    const quantized = planner.quantize(current);
    const { report, readDequantized } = await kernelCoverage(host, await stageModel(host, quantized.model, 'quantized.onnx', externalDataFolder), options);
    const evidence = {
      kernels: new Map(report.nodes.map(({ name, kernel }) => [name, kernel])),
      float: new Set(report.nodes.flatMap(({ name, runsAs }) => (runsAs === 'float' ? [name] : []))),
      readDequantized: new Set(readDequantized),
    };
    const repair = round < MAX_ROUNDS ? repairPlan(current.plan, evidence, tried) : undefined;
    if (!repair) return { planned: current, quantized, integer: report, changes };
    current = planner.replace(current, repair.plan);
    changes.push(...repair.changes.map((change) => ({ pass: 'repair', ...change })));
  }
}
