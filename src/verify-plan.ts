import type { Change } from './passes/pass.js';
import { repairPlan } from './quantization/repair.js';
import { floatAlternatives, plansWithFloat } from './quantization/untangle.js';
import type { RuntimeHost } from './runtime/host.js';
import type { FusedReport } from './runtime/integer-report.js';
import { kernelCoverage, type CoverageOptions, type KernelCoverage } from './runtime/kernel-coverage.js';
import { stageForLook } from './runtime/staged-model.js';
import type { PlannedModel, Planner } from './search/planner.js';

/** Rounds of repair; each takes something out or changes it once, and real models need one or two. */
const MAX_ROUNDS = 16;

/** A plan that the runtime fuses as it says. */
export interface VerifiedPlan {
  readonly planned: PlannedModel;
  readonly quantized: ReturnType<Planner['quantize']>;
  readonly integer: FusedReport;
  readonly changes: readonly Change[];
}

/** Carries a plan out, looks at what the runtime makes of it, and repairs the plan until all of it is fused. */
export async function verifyPlan(host: RuntimeHost, planner: Planner, planned: PlannedModel, externalDataFolder: string, options: CoverageOptions = {}): Promise<VerifiedPlan> {
  const changes: Change[] = [];
  const tried = new Set<string>();
  const lookUp = async (candidate: PlannedModel): Promise<LookedUpPlan> => {
    const quantized = planner.quantize(candidate);
    return { planned: candidate, quantized, coverage: await kernelCoverage(host, await stageForLook(host, quantized.model, 'quantized.onnx', externalDataFolder), options) };
  };
  let current = await lookUp(planned);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const { report, readDequantized } = current.coverage;
    const evidence = {
      kernels: new Map(report.nodes.map(({ name, kernel }) => [name, kernel])),
      float: new Map(report.nodes.flatMap(({ name, runsAs, reason }) => (runsAs === 'float' && reason ? [[name, reason] as const] : []))),
      readDequantized: new Set(readDequantized),
    };
    const repair = repairPlan(current.planned.plan, evidence, tried);
    if (repair) {
      current = await lookUp(planner.replace(current.planned, repair.plan));
      changes.push(...repair.changes.map((change) => ({ pass: 'repair', ...change })));
      continue;
    }
    const untangled = report.danglingQdqNodes > 0 ? await untangle(planner, current, lookUp) : undefined;
    if (!untangled) break;
    current = untangled.found;
    changes.push({ pass: 'repair', names: [...untangled.names], message: `${untangled.names.size} nodes went back to float, where the runtime would leave Q/DQ that convert for nothing` });
  }
  return { planned: current.planned, quantized: current.quantized, integer: current.coverage.report, changes };
}

interface LookedUpPlan {
  readonly planned: PlannedModel;
  readonly quantized: ReturnType<Planner['quantize']>;
  readonly coverage: KernelCoverage;
}

/** The first of the alternatives that leaves fewer Q/DQ dangling and as many nodes on integers; undefined where none does. */
async function untangle(
  planner: Planner,
  { planned, coverage: { report, besideDangling } }: LookedUpPlan,
  lookUp: (planned: PlannedModel) => Promise<LookedUpPlan>,
): Promise<{ readonly found: LookedUpPlan; readonly names: ReadonlySet<string> } | undefined> {
  for (const names of floatAlternatives(planned.model.graph, planned.plan, new Set(besideDangling))) {
    for (const plan of plansWithFloat(planned.plan, names)) {
      const found = await lookUp(planner.replace(planned, plan));
      const { danglingQdqNodes, integerNodes } = found.coverage.report;
      if (danglingQdqNodes < report.danglingQdqNodes && integerNodes >= report.integerNodes) return { found, names };
    }
  }
  return undefined;
}
