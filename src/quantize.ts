import { resolve } from 'node:path';
import { checkQuantized, type QuantizeCheck } from './check-quantized.js';
import { coverageOrWarning } from './coverage-or-warning.js';
import { QUANTIZE_DEFAULTS } from './defaults.js';
import type { DataSpec } from './data/data-spec.js';
import { messageOf, QdqError } from './errors.js';
import { prove } from './evaluation/prove.js';
import { freezeModel } from './freeze.js';
import { noteFixedInputs } from './note-fixed-inputs.js';
import type { Model } from './graph/model.js';
import type { ThresholdCheck } from './metrics/thresholds.js';
import { nonFiniteOutputs } from './non-finite-outputs.js';
import { modelSize, readModel } from './onnx/read-model.js';
import { writeFileAtomic } from './onnx/atomic-file.js';
import { writeModelAside, type ModelAside } from './onnx/write-model.js';
import { listSamples } from './partition-samples.js';
import type { Change } from './passes/pass.js';
import { narrowFloat16 } from './passes/widen-float16.js';
import type { Warning } from './progress.js';
import type { QuantizationPlan } from './quantization/plan.js';
import { TARGETS, type TargetName } from './quantization/target.js';
import { quantizeDynamic } from './quantize-dynamic.js';
import { inFormat } from './quantize-format.js';
import { quantizeByRecord, recordFor } from './quantize-replay.js';
import type { QuantizedModel, QuantizedNode, QuantizeJob } from './quantize-job.js';
import type { QuantizeOptions } from './quantize-options.js';
import { quantizeFloat16 } from './quantize-float16.js';
import { carriesQdq, quantizeQat, quantizeTrained } from './quantize-qat.js';
import { quantizeStatic } from './quantize-static.js';
import { quantizeWeightOnly } from './quantize-weight-only.js';
import { withoutNodes, type IntegerNode, type FusedReport } from './runtime/integer-report.js';
import { isComputeOperator } from './runtime/kernels.js';
import type { MethodTrial } from './search/choose-method.js';
import { recordText, type PlanRecord } from './search/plan-record.js';
import { FASTER } from './search/choose-plan.js';
import type { SlowNode } from './search/slow-nodes.js';
import { ratioText } from './search/wording.js';
import { multipliesExactly } from './runtime/machine.js';
import { stagedFile } from './runtime/staged-model.js';
import { startStopwatch, type PhaseTimes } from './stopwatch.js';
import { timingWarning } from './timing-warning.js';
import { dataSpecOf, warn, withHost } from './verb-options.js';

export type { QuantizedNode, QuantizeOptions };

/** What `quantize` returns, and prints with --json. */
export interface QuantizeResult {
  readonly schema: 'qdq.quantize/1';
  readonly mode: 'static' | 'dynamic' | 'qat' | 'weight-only';
  readonly target: TargetName;
  /** Range method used. */
  readonly method: string;
  /** The same with its percentile, and with how many tensors take another. */
  readonly ranges: string;
  /** What each method gave, where several were tried. */
  readonly methods: readonly MethodTrial[];
  /** What the search tried, with --effort; null without. */
  readonly search: QuantizedModel['search'] | null;
  /** The float model that it was made from. */
  readonly model: { readonly path: string; readonly sizeBytes: number };
  /** null with --dry-run, and where a threshold is not met. */
  readonly output: { readonly path: string; readonly sizeBytes: number; readonly sha256: string } | null;
  readonly nodes: readonly QuantizedNode[];
  readonly changes: readonly Change[];
  readonly integer: FusedReport | null;
  readonly check: QuantizeCheck | null;
  /** Where the result is slower than the float model: the nodes that cost time on integers. */
  readonly slowNodes: readonly SlowNode[];
  /** The whole plan, with --dry-run. */
  readonly plan: QuantizationPlan | null;
  /** What was required of the result; the output is null where one is not met. */
  readonly thresholds: readonly ThresholdCheck[];
  readonly warnings: readonly Warning[];
  readonly durationMs: PhaseTimes;
}

/** Why a node stays float that a static plan does not name. */
const IN_BODY = 'it stands in a body that static quantization cannot look into, and only dynamic quantization reaches';

/**
 * Quantizes a float model: places Q/DQ where an integer kernel takes them, writes it, and shows what it then runs as.
 *
 * @example
 * await quantize({ model: 'model.onnx', output: 'model.int8.onnx', data: ['calibration/'] });
 */
export async function quantize(options: QuantizeOptions): Promise<QuantizeResult> {
  const clock = startStopwatch();
  checkOptions(options);
  const given = dataSpecOf(options);
  return withHost(options, async (host, warnings) => {
    const read = await readModel(options.model);
    refuseQuantized(read, options);
    const record = await recordFor(options, read);
    const { model, frozen, changes: freezing } = freezeModel(read, record ? record.model.frozen : options.freeze);
    const data: DataSpec | undefined = given && frozen ? { ...given, frozen } : given;
    const listed = data && listSamples(host, model.graph, data, options.calibration !== undefined);
    const job: QuantizeJob = { host, options, model, frozen, data, listed, clock, warn: (warning) => warn(options, warnings, warning) };
    if (data) await noteFixedInputs(host, model, data, job.warn);
    const quantized = await inFormat(job, await quantizeByMode(job, record));
    host.throwIfInterrupted();
    if (options.planOut) await writeRecord(options.planOut, quantized);
    const result = narrowFloat16(quantized.model, model).model;
    // It is judged where nobody looks, and put in its place when that is done.
    const aside = options.dryRun ? null : await writeAside(options.output!, result, options);
    try {
      clock.lap('write');
      const { integer, check, slowNodes } = await verify(job, quantized, aside?.temporaryPath, warnings);
      const sizeBytes = modelSize(options.model, read);
      if (aside) warnAboutSize(options, warnings, sizeBytes, aside.written.sizeBytes);
      if (quantized.needsExactProducts && options.checkRuntime !== 'web') warnAboutMachine(options, warnings, quantized.target);
      const thresholds = requiredSpeedup(options, check);
      host.throwIfInterrupted();
      const written = thresholds.every(({ met }) => met) ? await aside?.commit() : undefined;
      clock.lap('verify');
      const { mode, target, method, methods, search = null, plan, changes } = quantized;
      const nodes = plan.nodes.map(({ name, opType, decision, reason }): QuantizedNode => ({ name, opType, decision, reason }));
      return {
        schema: 'qdq.quantize/1',
        mode,
        target,
        method: method.split(/[ ,]/, 1)[0]!,
        ranges: method,
        methods,
        search,
        model: { path: options.model, sizeBytes },
        output: written ? { path: options.output!, sizeBytes: written.sizeBytes, sha256: written.sha256 } : null,
        nodes,
        changes: [...freezing, ...changes],
        integer: integer && withPlanReasons(ofModelAsItCame(integer, nodes), nodes, mode),
        check,
        slowNodes,
        plan: options.dryRun ? plan : null,
        thresholds,
        warnings,
        durationMs: clock.read(),
      };
    } finally {
      await aside?.abort();
    }
  });
}

/** What the model runs as and how well, measured in the file at `path` where there is one. */
async function verify({ host, options, data }: QuantizeJob, quantized: QuantizedModel, path: string | undefined, warnings: Warning[]): Promise<Pick<QuantizeResult, 'integer' | 'check' | 'slowNodes'>> {
  const { samples, foreignTarget } = quantized;
  let { integer } = quantized;
  let check: QuantizeCheck | null = null;
  let slowNodes: readonly SlowNode[] = [];
  if (quantized.verifyWritten && path) integer = await coverageOrWarning(host, path, (warning) => warn(options, warnings, warning), options.output);
  if (integer && data && samples && path) {
    if (!foreignTarget) integer = await prove(host, { model: stagedFile(path), data, threads: options.threads ?? 0 });
    check = await checkQuantized(host, options, { baseline: quantized.baseline ?? options.model, candidate: path, simulateBaseline: quantized.mode === 'qat' }, data, samples);
    // Kernels of another processor say nothing about the target's speed.
    if (foreignTarget) check = { ...check, speedup: null, speedupInterval: null };
    // Unfused, weights alone would be rounded and no activation: another model than the one that runs.
    if (quantized.mode === 'weight-only') check = { ...check, simulatedSqnrDb: check.sqnrDb };
    if (check.speedup !== null && check.speedup < 1 && quantized.search?.integerNodes !== 0) slowNodes = (await quantized.findSlowNodes?.()) ?? [];
    warnAboutCheck(options, warnings, check, quantized, slowNodes);
  }
  if (foreignTarget) {
    const message = `the target is ${quantized.target} and this machine is not: what fuses there was looked up here, errors were measured on other kernels, and speed cannot be judged here`;
    warn(options, warnings, { code: 'target-machine', message, advice: 'Run `qdq compare` and `qdq run` on a machine of the target.' });
  }
  return { integer, check, slowNodes };
}

/**
 * `auto`: qat where the model carries Q/DQ, otherwise static where there is data or a table, and dynamic for what static quantization does not reach; dynamic where there is neither or
 * where nothing can be static.
 */
async function quantizeByMode(job: QuantizeJob, record: PlanRecord | undefined): Promise<QuantizedModel> {
  const { mode = QUANTIZE_DEFAULTS.mode, calibration } = job.options;
  if (record) return quantizeByRecord(job, record);
  if (job.options.weightType === 'float16' && (mode === 'auto' || mode === 'weight-only')) return quantizeFloat16(job);
  if (mode === 'weight-only') return quantizeWeightOnly(job);
  if (mode === 'qat') return quantizeQat(job);
  const trained = mode === 'auto' && carriesQdq(job.model) ? await quantizeTrained(job) : undefined;
  if (trained) return trained;
  if (mode === 'dynamic' || (mode === 'auto' && !calibration && !job.data)) return quantizeDynamic(job);
  try {
    return await quantizeStatic(job);
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

function requiredSpeedup({ requireSpeedup }: QuantizeOptions, check: QuantizeCheck | null): ThresholdCheck[] {
  if (requireSpeedup === undefined) return [];
  const value = check?.speedup ?? null;
  return [{ name: 'min-speedup', limit: requireSpeedup, value, met: value !== null && value >= requireSpeedup, output: null }];
}

async function writeRecord(path: string, { record, mode }: QuantizedModel): Promise<void> {
  if (!record) throw new QdqError('usage', `--plan-out: ${mode} quantization decides nothing that would have to be recorded`, 'Leave it out: the same command gives the same bytes.');
  await writeFileAtomic(path, recordText(record));
}

async function writeAside(path: string, model: Model, { externalData, sideFileSuffix, onProgress }: QuantizeOptions): Promise<ModelAside> {
  const onBytes = (done: number, total: number) => onProgress?.({ stage: 'writing', done, total, unit: 'bytes' });
  return writeModelAside(path, model, { externalData, sideFileSuffix, onBytes });
}

function checkOptions(options: QuantizeOptions): void {
  if (!options.dryRun && !options.output) throw new QdqError('usage', 'no output was named', 'Name the file to write with -o, or look at the plan with --dry-run.');
  if (options.output && resolve(options.output) === resolve(options.model)) {
    throw new QdqError('usage', `the output ${options.output} is the input`, 'Name another file with -o; the float model is needed to compare with.');
  }
  refuseBlockOptions(options);
  if (options.target && !(options.target in TARGETS)) throw new QdqError('usage', `unknown target "${options.target}"`, `Targets: ${Object.keys(TARGETS).join(', ')}.`);
}

/** Refuses what only weight-only quantization could use. */
function refuseBlockOptions({ mode, weightType, blockSize, format, algorithm, accuracyLevel, float16 }: QuantizeOptions): void {
  const given = Object.entries({ '--block-size': blockSize, '--format contrib': format === 'contrib' || undefined, '--algorithm': algorithm, '--accuracy-level': accuracyLevel, '--float16': float16 }).find(([, value]) => value !== undefined);
  if (mode === 'weight-only' || weightType === 'float16' || !given) return;
  throw new QdqError('usage', `${given[0]} is for weights in blocks, which this mode does not write`, 'Say --mode weight-only, or leave it out.');
}

function refuseQuantized(model: Model, { model: path, mode = QUANTIZE_DEFAULTS.mode }: QuantizeOptions): void {
  if (carriesQdq(model)) {
    if (mode === 'qat' || mode === 'auto') return;
    throw new QdqError('usage', `${path} carries Q/DQ already, and --mode ${mode} starts from a float model`, 'Take --mode qat, which keeps its scales, or give the float model.');
  }
  const pair = model.graph.nodes.find((node) => /^DynamicQuantize|^(MatMul|Conv)Integer$|^MatMulNBits$|^GatherBlockQuantized$/.test(node.opType));
  if (!pair) return;
  throw new QdqError('usage', `${path} is quantized already: it has ${pair.opType} nodes`, 'See what it runs as with `qdq inspect`, or give the float model.');
}

/** A pool that was written as a convolution did not come in as one: compute nodes are counted in the model that came in. */
function ofModelAsItCame(report: FusedReport, planned: readonly QuantizedNode[]): FusedReport {
  const others = new Set(planned.flatMap(({ name, opType }) => (isComputeOperator(opType) ? [] : [name])));
  return withoutNodes(report, ({ name, opType }) => isComputeOperator(opType) && others.has(name));
}

/** The plan knows why a node was left in float; the fused graph only shows that it is. A static plan does not look into bodies. */
function withPlanReasons(report: FusedReport, planned: readonly QuantizedNode[], mode: QuantizedModel['mode']): FusedReport {
  const reasons = new Map(planned.flatMap(({ name, decision, reason }) => (decision === 'float' && reason ? [[name, reason] as const] : [])));
  const known = new Set(planned.map(({ name }) => name));
  const reasonOf = ({ name, reason }: IntegerNode) => reasons.get(name) ?? (mode === 'static' && !known.has(name) ? IN_BODY : reason);
  return { ...report, nodes: report.nodes.map((node) => (node.reason ? { ...node, reason: reasonOf(node) } : node)) };
}

function warnAboutCheck(options: QuantizeOptions, warnings: Warning[], check: QuantizeCheck, { mode, samples, search }: QuantizedModel, slowNodes: readonly SlowNode[]): void {
  if (!check.heldOut) {
    const message = `the ${check.samples === 1 ? 'sample' : `${check.samples} samples`} that the figures come from also gave the ranges or chose the method, which flatters them`;
    const advice = (samples?.all.length ?? 0) < 8 ? 'Give eight or more samples; every fourth is then held out.' : 'Judge it with `qdq compare` on samples that calibration has not seen.';
    warn(options, warnings, { code: 'not-held-out', message, advice });
  }
  for (const warning of nonFiniteOutputs(check.nonFinite, 'the quantized model')) warn(options, warnings, warning);
  for (const name of check.collapsed) {
    warn(options, warnings, {
      code: 'collapsed-output',
      message: `output "${name}" is useless after quantization`,
      advice: 'Leave the nodes before it in float with --exclude, or try another --method.',
    });
  }
  const { minSqnr = QUANTIZE_DEFAULTS.minSqnr, maxDrop } = options;
  for (const name of maxDrop === undefined ? check.graded : []) {
    const sqnrDb = check.simulatedSqnrDb[name] ?? null;
    if (sqnrDb === null || sqnrDb >= minSqnr || check.collapsed.includes(name)) continue;
    if (!search) {
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
  const drop = check.task?.drop ?? null;
  if (maxDrop !== undefined && !(drop !== null && drop <= maxDrop)) {
    warn(options, warnings, {
      code: 'error-budget',
      message: drop === null ? 'a largest drop was given, and no sample that judges has a label' : `the task metric drops by ${drop.toPrecision(3)}, and at most ${maxDrop} was asked for`,
      advice: drop === null ? 'Give --labels that name the samples of --data.' : 'Give more samples, or allow more with --max-drop.',
    });
  }
  // Where integers win nothing, what was written runs as the float model does, and the figure shows the noise of timing.
  if (search?.integerNodes === 0) return;
  const noisy = timingWarning(check);
  if (noisy) warn(options, warnings, noisy);
  const chosen = search?.candidates.find((candidate) => candidate.chosen);
  if (!noisy && chosen && search?.noGain === null && check.speedupInterval && check.speedupInterval.median >= 1 && check.speedupInterval.high < FASTER) {
    const message = `it has ${ratioText(chosen.speedupInterval)} the speed of float by the times that it was chosen by, and ${ratioText(check.speedupInterval)} as it was written${check.threads === 1 ? '' : ', with more threads'}: no gain there`;
    warn(options, warnings, { code: 'no-gain', message, advice: 'Search with the --threads that the model will run with.' });
  }
  if (check.speedup !== null && check.speedup < 1 && !(noisy && check.speedupInterval!.high > 1)) {
    warn(options, warnings, {
      code: 'slower',
      message: `the quantized model is slower than ${mode === 'qat' ? 'the model that came in' : 'fp32'} on this machine: ${check.speedup.toFixed(2)} times its speed`,
      advice:
        slowNodes.length > 0
          ? `${slowNodes.length} nodes cost more on integers than in float, ${slowNodes[0]!.name} first; leave them in float with --exclude, or ${search ? 'ask for speed with --prefer speed' : 'let --effort normal find out'}.`
          : 'Its layers are too small to win by integers; `qdq run` shows where its time goes.',
    });
  }
}

/** Growth that is worth a word: a name or an entry more in the file is none. */
const LARGER = 1.005;

function warnAboutSize(options: QuantizeOptions, warnings: Warning[], before: number, after: number): void {
  if (after <= LARGER * before) return;
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
