import { resolve } from 'node:path';
import { addDynamic } from './add-dynamic.js';
import { checkQuantized, type QuantizeCheck } from './check-quantized.js';
import type { MethodTrial } from './choose-method.js';
import { coverageOrWarning } from './coverage-or-warning.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import { messageOf, QdqError } from './errors.js';
import { prove } from './evaluation/prove.js';
import type { Model } from './graph/model.js';
import { modelSize, readModel } from './onnx/read-model.js';
import { writeModel } from './onnx/write-model.js';
import type { SamplePartition } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { narrowFloat16 } from './passes/widen-float16.js';
import type { ProgressListener, Warning } from './progress.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { TARGETS, type TargetName } from './quantization/target.js';
import { quantizeDynamic } from './quantize-dynamic.js';
import type { QuantizedModel, QuantizedNode, QuantizeJob } from './quantize-job.js';
import type { QuantizeOptions } from './quantize-options.js';
import { quantizeStatic } from './quantize-static.js';
import type { IntegerReport } from './runtime/integer-report.js';
import type { SlowNode } from './search-plan.js';
import { isDequantize } from './runtime/kernels.js';
import { multipliesExactly } from './runtime/machine.js';
import { stagedFile } from './runtime/staged-model.js';
import { startStopwatch, type PhaseTimes } from './stopwatch.js';
import { dataSpecOf, warn, withHost } from './verb-options.js';

export type { QuantizedNode, QuantizeOptions };

/** What `quantize` returns, and prints with --json. */
export interface QuantizeResult {
  readonly schema: 'qdq.quantize/1';
  readonly mode: 'static' | 'dynamic';
  readonly target: TargetName;
  /** Range method used. */
  readonly method: string;
  /** What each method gave, where several were tried. */
  readonly methods: readonly MethodTrial[];
  /** The float model that it was made from. */
  readonly model: { readonly path: string; readonly sizeBytes: number };
  /** null with --dry-run. */
  readonly output: { readonly path: string; readonly sizeBytes: number; readonly sha256: string } | null;
  readonly nodes: readonly QuantizedNode[];
  readonly changes: readonly Change[];
  readonly integer: IntegerReport | null;
  readonly check: QuantizeCheck | null;
  /** Where the result is slower than the float model: the nodes that cost time on integers. */
  readonly slowNodes: readonly SlowNode[];
  /** The whole plan, with --dry-run. */
  readonly plan: QuantizationPlan | null;
  readonly warnings: readonly Warning[];
  readonly durationMs: PhaseTimes;
}

/**
 * Quantizes a float model: places Q/DQ where an integer kernel takes them, writes it, and shows what it then runs as.
 *
 * @example
 * await quantize({ model: 'model.onnx', output: 'model.int8.onnx', data: ['calibration/'] });
 */
export async function quantize(options: QuantizeOptions): Promise<QuantizeResult> {
  const clock = startStopwatch();
  checkOptions(options);
  const data = dataSpecOf(options);
  return withHost(options, async (host, warnings) => {
    const model = await readModel(options.model);
    refuseQuantized(model, options.model);
    const quantized = await quantizeByMode({ host, options, model, data, clock, warn: (warning) => warn(options, warnings, warning) });
    host.throwIfInterrupted();
    const output = options.dryRun ? null : await write(options.output!, narrowFloat16(quantized.model, model).model, options.onProgress);
    clock.lap('write');
    let { integer } = quantized;
    if (quantized.verifyWritten && output) integer = await coverageOrWarning(host, output.path, (warning) => warn(options, warnings, warning));
    let check: QuantizeCheck | null = null;
    let slowNodes: readonly SlowNode[] = [];
    if (integer && data && quantized.samples && output) {
      if (!quantized.foreignTarget) integer = await prove(host, { model: stagedFile(output.path), data, threads: options.threads ?? 0 });
      check = await checkQuantized(host, options, { baseline: options.model, candidate: output.path }, data, quantized.samples);
      if (check.speedup !== null && check.speedup < 1) slowNodes = (await quantized.findSlowNodes?.()) ?? [];
      warnAboutCheck(options, warnings, check, quantized.samples, slowNodes);
    }
    if (quantized.foreignTarget) {
      const message = `the target is ${quantized.target} and this machine is not: what fuses there was looked up here, error and speed were measured on other kernels`;
      warn(options, warnings, { code: 'target-machine', message, advice: 'Run `qdq compare` and `qdq run` on a machine of the target.' });
    }
    const sizeBytes = modelSize(options.model, model);
    if (output) warnAboutSize(options, warnings, sizeBytes, output.sizeBytes);
    if (quantized.needsExactProducts) warnAboutMachine(options, warnings, quantized.target);
    clock.lap('verify');
    const { mode, target, method, methods, plan, nodes, changes } = quantized;
    return {
      schema: 'qdq.quantize/1',
      mode,
      target,
      method,
      methods,
      model: { path: options.model, sizeBytes },
      output,
      nodes,
      changes,
      integer: integer && withPlanReasons(integer, nodes),
      check,
      slowNodes,
      plan: options.dryRun ? plan : null,
      warnings,
      durationMs: clock.read(),
    };
  });
}

/**
 * `auto`: static where there is data or a table, and dynamic for what static quantization does not reach; dynamic where there is neither or
 * where nothing can be static.
 */
async function quantizeByMode(job: QuantizeJob): Promise<QuantizedModel> {
  const { mode = QUANTIZE_DEFAULTS.mode, calibration } = job.options;
  if (mode === 'dynamic' || (mode === 'auto' && !calibration && !job.data)) return quantizeDynamic(job);
  try {
    const quantized = await quantizeStatic(job);
    return mode === 'auto' ? await addDynamic(job, quantized) : quantized;
  } catch (error) {
    if (mode !== 'auto' || calibration || !(error instanceof QdqError && error.code === 'nothing-to-quantize')) throw error;
    // What says how ranges are to be chosen was said for static quantization.
    const ranges = { method: undefined, percentile: undefined, exact: undefined, symmetricActivations: undefined, activationType: undefined };
    const quantized = await quantizeDynamic({ ...job, options: { ...job.options, ...ranges } }).catch(() => {
      throw error;
    });
    job.warn({ code: 'dynamic-instead', message: `quantized dynamically: ${messageOf(error)}`, advice: 'Say --mode dynamic to go there directly.' });
    return quantized;
  }
}

async function write(path: string, model: Model, onProgress: ProgressListener | undefined): Promise<NonNullable<QuantizeResult['output']>> {
  const { sizeBytes, sha256 } = await writeModel(path, model, { onBytes: (done, total) => onProgress?.({ stage: 'writing', done, total, unit: 'bytes' }) });
  return { path, sizeBytes, sha256 };
}

function checkOptions(options: QuantizeOptions): void {
  if (!options.dryRun && !options.output) throw new QdqError('usage', 'no output was named', 'Name the file to write with -o, or look at the plan with --dry-run.');
  if (options.output && resolve(options.output) === resolve(options.model)) {
    throw new QdqError('usage', `the output ${options.output} is the input`, 'Name another file with -o; the float model is needed to compare with.');
  }
  if (options.target && !(options.target in TARGETS)) throw new QdqError('usage', `unknown target "${options.target}"`, `Targets: ${Object.keys(TARGETS).join(', ')}.`);
}

function refuseQuantized(model: Model, path: string): void {
  const pair = model.graph.nodes.find((node) => isDequantize(node) || /^QLinear|^DynamicQuantize|^(MatMul|Conv)Integer$/.test(node.opType));
  if (!pair) return;
  throw new QdqError('usage', `${path} is quantized already: it has ${pair.opType} nodes`, 'See what it runs as with `qdq inspect`, or give the float model.');
}

/** The plan knows why a node was left in float; the fused graph only shows that it is. */
function withPlanReasons(report: IntegerReport, planned: readonly QuantizedNode[]): IntegerReport {
  const reasons = new Map(planned.flatMap(({ name, decision, reason }) => (decision === 'float' && reason ? [[name, reason] as const] : [])));
  return { ...report, nodes: report.nodes.map((node) => (node.reason ? { ...node, reason: reasons.get(node.name) ?? node.reason } : node)) };
}

function warnAboutCheck(options: QuantizeOptions, warnings: Warning[], check: QuantizeCheck, samples: SamplePartition, slowNodes: readonly SlowNode[]): void {
  if (!check.heldOut) {
    const message = `the ${check.samples} samples that the figures come from also gave the ranges or chose the method, which flatters them`;
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
  const { effort = QUANTIZE_DEFAULTS.effort, minSqnr = QUANTIZE_DEFAULTS.minSqnr } = options;
  for (const name of check.graded) {
    const sqnrDb = check.simulatedSqnrDb[name] ?? null;
    if (sqnrDb === null || sqnrDb >= minSqnr || check.collapsed.includes(name)) continue;
    if (effort === 'none') {
      const message = `output "${name}" has ${sqnrDb.toFixed(1)} dB, less than ${minSqnr} dB`;
      warn(options, warnings, { code: 'low-sqnr', message, advice: 'Let --effort normal look for a better mix of integer and float nodes, or give more samples.' });
      continue;
    }
    warn(options, warnings, {
      code: 'error-budget',
      message: `output "${name}" has ${sqnrDb.toFixed(1)} dB, and ${minSqnr} dB were asked for: no mix of integer and float nodes that was tried keeps them`,
      advice: 'Ask for less with --min-sqnr, or leave the nodes before it in float with --exclude.',
    });
  }
  if (check.speedup !== null && check.speedup < 1) {
    warn(options, warnings, {
      code: 'slower',
      message: `the quantized model is slower than fp32 on this machine: ${check.speedup.toFixed(2)} times its speed`,
      advice:
        slowNodes.length > 0
          ? `${slowNodes.length} nodes cost more on integers than in float, ${slowNodes[0]!.name} first; leave them in float with --exclude, or let --effort normal find out.`
          : 'Its layers are too small to win by integers; `qdq run` shows where its time goes.',
    });
  }
}

function warnAboutSize(options: QuantizeOptions, warnings: Warning[], before: number, after: number): void {
  if (after <= before) return;
  warn(options, warnings, {
    code: 'larger',
    message: `the quantized model is larger than the float one: ${(after / before).toFixed(2)} times its size`,
    advice: 'A weight that float nodes read too is stored twice, and small weights gain nothing; leave such nodes in float with --exclude.',
  });
}

function warnAboutMachine(options: QuantizeOptions, warnings: Warning[], target: TargetName): void {
  if (multipliesExactly() !== false) return;
  warn(options, warnings, {
    code: 'target-machine',
    message: `the target is ${target}, and this machine has no VNNI: sums of u8 × s8 products can saturate here, so the error measured here can be larger than on the target`,
    advice: 'Where the model will run on machines like this one, quantize with --target ort-x64.',
  });
}
