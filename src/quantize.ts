import { dirname, resolve } from 'node:path';
import { performance } from 'node:perf_hooks';
import { collectTable } from './calibrate.js';
import { requireTableFor } from './calibration/calibration-table.js';
import type { RangeMethod } from './calibration/choose-range.js';
import { readTable } from './calibration/table-file.js';
import { chooseMethod, rangeLookup, usableMethods, type MethodTrial } from './choose-method.js';
import { QUANTIZE_DEFAULTS, type QuantizeMode } from './defaults.js';
import { QdqError } from './errors.js';
import { prove } from './evaluation/prove.js';
import type { Model } from './graph/model.js';
import { readModel } from './onnx/read-model.js';
import { writeModel } from './onnx/write-model.js';
import type { Change } from './passes/pass.js';
import { prepareModel } from './prepare-model.js';
import type { Warning } from './progress.js';
import { nodeFilter, type NodeFilters } from './quantization/filters.js';
import { NO_OVERRIDES, readOverrides } from './quantization/overrides.js';
import type { Decision, QuantizationPlan } from './quantization/plan.js';
import { planStatic, type StaticOptions } from './quantization/plan-static.js';
import { selectNodes, type Selection } from './quantization/select.js';
import { applyStaticPlan } from './quantization/static-qdq.js';
import { targetOf, TARGETS, type TargetName } from './quantization/target.js';
import { checkUpgrade } from './check-upgrade.js';
import { checkQuantized, type QuantizeCheck } from './check-quantized.js';
import { partitionSamples, type SamplePartition } from './partition-samples.js';
import type { IntegerReport } from './runtime/integer-report.js';
import { isDequantize } from './runtime/kernels.js';
import { multipliesExactly } from './runtime/machine.js';
import { stagedFile } from './runtime/staged-model.js';
import { INTEGER_LIMITS, type QuantizedType } from './tensor/affine.js';
import { verifyPlan } from './verify-plan.js';
import { dataSpecOf, sha256OfFile, warn, withHost, type DataOptions, type VerbOptions } from './verb-options.js';

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
  /** Path of a JSON file with ranges and nodes to keep in float. */
  readonly overrides?: string | undefined;
  /** Make the plan and write nothing. */
  readonly dryRun?: boolean | undefined;
  /** Look up in the fused graph what the written model runs as, and measure it where there is data (default true). */
  readonly verify?: boolean | undefined;
}

/** One node of the model and what became of it. */
export interface QuantizedNode {
  readonly name: string;
  readonly opType: string;
  readonly decision: Decision;
  readonly reason: string | null;
}

/** What `quantize` returns, and prints with --json. */
export interface QuantizeResult {
  readonly schema: 'qdq.quantize/1';
  readonly mode: 'static';
  readonly target: TargetName;
  /** Range method used. */
  readonly method: string;
  /** What each method gave, where several were tried. */
  readonly methods: readonly MethodTrial[];
  /** null with --dry-run. */
  readonly output: { readonly path: string; readonly sizeBytes: number; readonly sha256: string } | null;
  readonly nodes: readonly QuantizedNode[];
  readonly changes: readonly Change[];
  readonly integer: IntegerReport | null;
  readonly check: QuantizeCheck | null;
  /** The whole plan, with --dry-run. */
  readonly plan: QuantizationPlan | null;
  readonly warnings: readonly Warning[];
  readonly durationMs: { readonly read: number; readonly calibrate: number; readonly plan: number; readonly write: number; readonly verify: number; readonly total: number };
}

/**
 * Quantizes a float model: places Q/DQ where an integer kernel takes them, writes it, and shows what it then runs as.
 *
 * @example
 * await quantize({ model: 'model.onnx', output: 'model.int8.onnx', data: ['calibration/'] });
 */
export async function quantize(options: QuantizeOptions): Promise<QuantizeResult> {
  const clock = stopwatch();
  checkOptions(options);
  const data = dataSpecOf(options);
  const overrides = options.overrides ? await readOverrides(options.overrides) : NO_OVERRIDES;
  const settings = staticSettings(options);
  return withHost(options, async (host, warnings) => {
    const model = await readModel(options.model);
    refuseQuantized(model, options.model);
    const sha256 = await sha256OfFile(options.model);
    const folder = dirname(options.model);
    const given = options.calibration ? await readTable(options.calibration) : undefined;
    if (given) requireTableFor(given, { name: options.model, sha256 });
    const prepared = await prepareModel(host, model, folder);
    const unchecked = prepared.upgraded && (await checkUpgrade(host, options.model, prepared.upgraded, data, folder));
    if (unchecked) warn(options, warnings, unchecked);
    clock.lap('read');
    const samples = await partitionSamples(host, options.model, data, given);
    const table = given ?? (await collectTable(host, options, prepared, sha256, data!, samples!.heldOut)).table;
    clock.lap('calibrate');
    const filters = { ...options, exclude: [...(options.exclude ?? []), ...overrides.float] };
    const selection = selectNodes(prepared.model.graph, prepared.types, { opset: prepared.model.opsets.get('') ?? 1, keptFloat: nodeFilter(filters) });
    refuseNothing(selection, options.model);
    const planWith = (method: RangeMethod) => {
      const range = { percentile: options.percentile ?? QUANTIZE_DEFAULTS.percentile, levels: levelsOf(settings.activationType), symmetric: settings.symmetricActivations };
      return { method, plan: planStatic(prepared.model, selection, prepared.types, rangeLookup(table, method, range, overrides.ranges), { ...settings, method }) };
    };
    const method = options.method ?? QUANTIZE_DEFAULTS.method;
    let plan: QuantizationPlan;
    let trials: readonly MethodTrial[] = [];
    if (method === 'auto' && data && samples && samples.forRanges.length > 0) {
      const plans = usableMethods(table).map(planWith);
      ({ plan, trials } = await chooseMethod(host, prepared.model, stagedFile(options.model), plans, data, samples.forRanges, folder));
    } else {
      ({ plan } = planWith(method === 'auto' ? 'percentile' : method));
    }
    clock.lap('plan');
    const verified = options.verify === false ? undefined : await verifyPlan(host, prepared.model, plan, folder);
    if (verified) ({ plan } = verified);
    clock.lap('verify');
    const output = options.dryRun ? null : await write(options.output!, verified?.quantized ?? applyStaticPlan(prepared.model, plan));
    clock.lap('write');
    let integer = verified?.integer ?? null;
    let check: QuantizeCheck | null = null;
    if (verified && data && samples && output) {
      integer = await prove(host, { model: stagedFile(output.path), data, threads: options.threads ?? 0 });
      check = await checkQuantized(host, options, { baseline: options.model, candidate: output.path }, data, samples);
      warnAboutCheck(options, warnings, check, samples);
    }
    warnAboutMachine(options, warnings, settings);
    clock.lap('verify');
    return {
      schema: 'qdq.quantize/1',
      mode: 'static',
      target: settings.target,
      method: plan.method,
      methods: trials,
      output,
      nodes: plan.nodes.map(({ name, opType, decision, reason }) => ({ name, opType, decision, reason })),
      changes: [...prepared.changes, ...(verified?.changes ?? [])],
      integer: integer && withPlanReasons(integer, plan),
      check,
      plan: options.dryRun ? plan : null,
      warnings,
      durationMs: clock.read(),
    };
  });
}

async function write(path: string, model: Model): Promise<NonNullable<QuantizeResult['output']>> {
  const { sizeBytes, sha256 } = await writeModel(path, model);
  return { path, sizeBytes, sha256 };
}

/** What the target's row says, and what the options say otherwise. */
function staticSettings(options: QuantizeOptions): Omit<StaticOptions, 'method'> {
  const target = targetOf(options.target ?? QUANTIZE_DEFAULTS.target);
  return {
    target: target.name,
    activationType: options.activationType ?? target.activationType,
    weightType: options.weightType ?? target.weightType,
    perChannel: !options.perTensor,
    symmetricActivations: options.symmetricActivations ?? false,
    reduceRange: options.reduceRange ?? target.reduceRange,
  };
}

function levelsOf(dtype: QuantizedType): number {
  const [qmin, qmax] = INTEGER_LIMITS[dtype];
  return qmax - qmin + 1;
}

function checkOptions(options: QuantizeOptions): void {
  if (!options.dryRun && !options.output) throw new QdqError('usage', 'no output was named', 'Name the file to write with -o, or look at the plan with --dry-run.');
  if (options.output && resolve(options.output) === resolve(options.model)) {
    throw new QdqError('usage', `the output ${options.output} is the input`, 'Name another file with -o; the float model is needed to compare with.');
  }
  if (!options.calibration && !options.data?.length) {
    throw new QdqError('usage', 'static quantization needs ranges, and neither --calibration nor --data was given', 'Give samples with --data, or a table that `qdq calibrate` wrote with --calibration.');
  }
  if (options.target && !(options.target in TARGETS)) throw new QdqError('usage', `unknown target "${options.target}"`, `Targets: ${Object.keys(TARGETS).join(', ')}.`);
}

function refuseQuantized(model: Model, path: string): void {
  const pair = model.graph.nodes.find((node) => isDequantize(node) || node.opType.startsWith('QLinear'));
  if (!pair) return;
  throw new QdqError('usage', `${path} is quantized already: it has ${pair.opType} nodes`, 'See what it runs as with `qdq inspect`, or give the float model.');
}

function refuseNothing(selection: Selection, path: string): void {
  if ([...selection.nodes.values()].some(({ rule }) => rule.kind === 'compute')) return;
  const [[node, reason] = []] = [...selection.floatReasons].filter(([candidate]) => /Conv|MatMul|Gemm|LSTM|GRU|RNN|Attention/.test(candidate.opType));
  throw new QdqError(
    'nothing-to-quantize',
    `${path} has no node that static quantization can bring to integers${node ? `: ${node.opType} "${node.name || node.outputs[0]}" stays float because ${reason}` : ''}`,
    'See its operators with `qdq inspect`; check --include, --exclude and --op-types.',
  );
}

/** The plan knows why a node was left in float; the fused graph only shows that it is. */
function withPlanReasons(report: IntegerReport, plan: QuantizationPlan): IntegerReport {
  const reasons = new Map(plan.nodes.flatMap(({ name, decision, reason }) => (decision === 'float' && reason ? [[name, reason] as const] : [])));
  return { ...report, nodes: report.nodes.map((node) => (node.reason ? { ...node, reason: reasons.get(node.name) ?? node.reason } : node)) };
}

function warnAboutCheck(options: QuantizeOptions, warnings: Warning[], check: QuantizeCheck, samples: SamplePartition): void {
  if (!check.heldOut) {
    const message = `the ${check.samples} samples that the figures come from also gave the ranges, which flatters them`;
    const advice = samples.all.length < 8 ? 'Give eight or more samples; every fourth is then held out.' : 'Judge it with `qdq compare` on samples that calibration has not seen.';
    warn(options, warnings, { code: 'not-held-out', message, advice });
  }
  for (const name of check.collapsed) {
    warn(options, warnings, {
      code: 'collapsed-output',
      message: `output "${name}" is useless after quantization`,
      advice: 'Leave the nodes before it in float with --exclude, or try another --method.',
    });
  }
  if (check.speedup && check.speedup.median < 1) {
    warn(options, warnings, {
      code: 'slower',
      message: `the quantized model is slower than fp32 on this machine: ${check.speedup.median.toFixed(2)} times its speed`,
      advice: 'Leave small layers in float with --exclude; `qdq run` shows where its time goes.',
    });
  }
}

function warnAboutMachine(options: QuantizeOptions, warnings: Warning[], settings: Omit<StaticOptions, 'method'>): void {
  if (settings.target !== 'ort-x64-vnni' || settings.reduceRange || multipliesExactly() !== false) return;
  warn(options, warnings, {
    code: 'target-machine',
    message: 'the target is ort-x64-vnni, and this machine has no VNNI: sums of u8 × s8 products can saturate here, so the error measured here can be larger than on the target',
    advice: 'Where the model will run on machines like this one, quantize with --target ort-x64.',
  });
}

type Phase = 'read' | 'calibrate' | 'plan' | 'write' | 'verify';

function stopwatch() {
  const start = performance.now();
  const laps: Record<Phase, number> = { read: 0, calibrate: 0, plan: 0, write: 0, verify: 0 };
  let last = start;
  return {
    lap(phase: Phase) {
      const now = performance.now();
      laps[phase] += now - last;
      last = now;
    },
    read: () => ({ ...laps, total: performance.now() - start }),
  };
}
