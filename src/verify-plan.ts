import type { Model } from './graph/model.js';
import type { Change } from './passes/pass.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { repairPlan } from './quantization/repair.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import type { RuntimeHost } from './runtime/host.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { kernelCoverage, type CoverageOptions } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';

/** Rounds of repair; each takes something out or changes it once, and real models need one or two. */
const MAX_ROUNDS = 16;

/** A plan that the runtime fuses as it says. */
export interface VerifiedPlan {
  readonly plan: QuantizationPlan;
  readonly quantized: Model;
  readonly integer: IntegerReport;
  readonly changes: readonly Change[];
}

/** Carries a plan out, looks at what the runtime makes of it, and repairs the plan until all of it is fused. */
export async function verifyPlan(
  host: RuntimeHost,
  model: Model,
  plan: QuantizationPlan,
  externalDataFolder: string,
  options: CoverageOptions = {},
): Promise<VerifiedPlan> {
  const changes: Change[] = [];
  const tried = new Set<string>();
  let current = plan;
  for (let round = 0; ; round++) {
    const quantized = applyStaticPlan(model, current);
    const { report, readDequantized } = await kernelCoverage(host, await stageForLook(host, quantized, 'quantized.onnx', externalDataFolder), options);
    const evidence = {
      kernels: new Map(report.nodes.map(({ name, kernel }) => [name, kernel])),
      float: new Set(report.nodes.flatMap(({ name, runsAs }) => (runsAs === 'float' ? [name] : []))),
      readDequantized: new Set(readDequantized),
    };
    const repair = round < MAX_ROUNDS ? repairPlan(current, evidence, tried) : undefined;
    if (!repair) return { plan: current, quantized, integer: report, changes };
    current = repair.plan;
    changes.push(...repair.changes.map((change) => ({ pass: 'repair', ...change })));
  }
}
