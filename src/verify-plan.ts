import type { Model } from './graph/model.js';
import type { Change } from './passes/pass.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { repairPlan } from './quantization/repair.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { floatAlternatives, withFloatNodes } from './quantization/untangle.js';
import type { RuntimeHost } from './runtime/host.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { kernelCoverage, type CoverageOptions, type KernelCoverage } from './runtime/kernel-coverage.js';
import { stageModel } from './runtime/staged-model.js';

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
  const lookUp = async (candidate: QuantizationPlan): Promise<LookedUpPlan> => {
    const quantized = applyStaticPlan(model, candidate);
    return { plan: candidate, quantized, coverage: await kernelCoverage(host, await stageModel(host, quantized, 'quantized.onnx', externalDataFolder), options) };
  };
  let current = await lookUp(plan);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { report, readDequantized } = current.coverage;
    const evidence = {
      kernels: new Map(report.nodes.map(({ name, kernel }) => [name, kernel])),
      float: new Map(report.nodes.flatMap(({ name, runsAs, reason }) => (runsAs === 'float' && reason ? [[name, reason] as const] : []))),
      readDequantized: new Set(readDequantized),
    };
    const repair = repairPlan(current.plan, evidence, tried);
    if (repair) {
      current = await lookUp(repair.plan);
      changes.push(...repair.changes.map((change) => ({ pass: 'repair', ...change })));
      continue;
    }
    const untangled = report.danglingQdqNodes > 0 ? await untangle(model, current, lookUp) : undefined;
    if (!untangled) break;
    current = untangled.found;
    changes.push({ pass: 'repair', names: [...untangled.names], message: `${untangled.names.size} nodes went back to float, where the runtime would leave Q/DQ that convert for nothing` });
  }
  return { plan: current.plan, quantized: current.quantized, integer: current.coverage.report, changes };
}

interface LookedUpPlan {
  readonly plan: QuantizationPlan;
  readonly quantized: Model;
  readonly coverage: KernelCoverage;
}

/** The first of the alternatives that leaves fewer Q/DQ dangling and as many nodes on integers; undefined where none does. */
async function untangle(
  model: Model,
  current: LookedUpPlan,
  lookUp: (plan: QuantizationPlan) => Promise<LookedUpPlan>,
): Promise<{ readonly found: LookedUpPlan; readonly names: ReadonlySet<string> } | undefined> {
  const { report, besideDangling } = current.coverage;
  for (const names of floatAlternatives(model.graph, current.plan, new Set(besideDangling))) {
    const found = await lookUp(withFloatNodes(current.plan, names));
    const { danglingQdqNodes, integerNodes } = found.coverage.report;
    if (danglingQdqNodes < report.danglingQdqNodes && integerNodes >= report.integerNodes) return { found, names };
  }
  return undefined;
}
