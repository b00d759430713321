import { QdqError } from '../errors.js';
import { dtypeInfo } from '../tensor/dtype.js';
import type { PlannedNode, QuantizationPlan } from './plan.js';
import type { TargetName } from './target.js';
import { DEFAULT_BLOCK_SIZE, type BlockFormat } from './weight-only-format.js';
import type { WeightForm } from './weight-only-recipe.js';
import type { WeightOnlyChoice, WeightOnlyNode } from './weight-only-select.js';

/** Types of weights in blocks or channels: signed ones are symmetric; u4 and, in blocks, u8 have zero points. */
export const BLOCK_WEIGHT_TYPES = ['int8', 'uint8', 'int4', 'uint4'] as const;
export type BlockWeightType = (typeof BLOCK_WEIGHT_TYPES)[number];

/** Ways to write them down: the standard DequantizeLinear, or the runtime's own operators. */
export const WEIGHT_FORMATS = ['qdq', 'contrib'] as const;
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

/** Ways to choose scales and zero points of blocks: round to nearest; half-quadratic, which needs no data; by the inputs of products in samples. */
export const WEIGHT_ALGORITHMS = ['rtn', 'hqq', 'gptq'] as const;
export type WeightAlgorithm = (typeof WEIGHT_ALGORITHMS)[number];

/** What decides the form of every weight. */
export interface WeightOnlySettings {
  readonly dtype: BlockWeightType;
  /** null: one scale for each output channel. */
  readonly blockSize: number | null;
  readonly perTensor: boolean;
  readonly format: WeightFormat;
  readonly accuracyLevel: number;
}

/** Operator sets from which DequantizeLinear takes channels and blocks. */
const CHANNELS_OPSET = 13;
const BLOCKS_OPSET = 21;

/** What the caller may leave open. */
export type WeightOnlyRequest = { readonly [K in keyof WeightOnlySettings]?: WeightOnlySettings[K] | undefined };

/**
 * What is asked for with the rest filled in: 8 bits go by channel and 4 bits by blocks of 32; the standard form where the operator set has it for
 * channels, otherwise the runtime's own. Throws a usage error where the parts do not go together.
 */
export function weightOnlySettings({ dtype = 'uint4', perTensor = false, accuracyLevel = 4, ...asked }: WeightOnlyRequest, opset: number): WeightOnlySettings {
  const is4 = dtype === 'int4' || dtype === 'uint4';
  if (perTensor && (is4 || asked.blockSize)) throw refusal('blocks of weights have a scale each, and --per-tensor asks for one in all', 'Leave --per-tensor out.');
  const byChannel = !is4 && !asked.blockSize && asked.format !== 'contrib' && (opset >= CHANNELS_OPSET || asked.format === 'qdq');
  const format = asked.format ?? (byChannel ? 'qdq' : 'contrib');
  const needed = byChannel ? CHANNELS_OPSET : BLOCKS_OPSET;
  if (format === 'qdq' && opset < needed) {
    throw refusal(`DequantizeLinear of ${byChannel ? 'channels' : 'blocks'} came with ONNX operator set ${needed}, and the model uses ${opset}`, 'Take --format contrib, or export the model with that operator set.');
  }
  if (perTensor && !byChannel) throw refusal('the operators of --format contrib have no form with one scale in all', 'Leave --per-tensor out.');
  if (format === 'qdq' && accuracyLevel !== 4) throw refusal('DequantizeLinear has no accuracy level: the runtime chooses it', 'Take --format contrib with --accuracy-level.');
  return { dtype, blockSize: byChannel ? null : (asked.blockSize ?? DEFAULT_BLOCK_SIZE), perTensor, format, accuracyLevel };
}

function refusal(message: string, hint: string): QdqError {
  return new QdqError('usage', message, hint);
}

/** Blocks of the type and size that the settings name. */
export function blockFormat({ dtype, blockSize }: WeightOnlySettings): BlockFormat {
  return { bits: dtype === 'int4' || dtype === 'uint4' ? 4 : 8, blockSize: blockSize ?? DEFAULT_BLOCK_SIZE, symmetric: dtype === 'int4' || dtype === 'int8' };
}

/**
 * How a choice is written. Where the runtime would not fuse a DequantizeLinear (in bodies, where products share a matrix, before a Relu) and for lookups
 * it is always the runtime's own operator.
 */
export function weightForm(choice: WeightOnlyNode, settings: WeightOnlySettings): WeightForm {
  if (settings.format === 'contrib' || !choice.fuses) return { as: 'contrib', format: blockFormat(settings), accuracyLevel: settings.accuracyLevel };
  if (settings.blockSize !== null) return { as: 'blocks', format: blockFormat(settings) };
  return { as: 'channels', dtype: settings.dtype === 'uint8' ? 'uint8' : 'int8', perTensor: settings.perTensor };
}

/** The choices as a plan: one entry for each node of the graph and its bodies, in the order of `allNodes`. `method` says how weights are rounded. */
export function planWeightOnly(choices: readonly WeightOnlyChoice[], settings: WeightOnlySettings, target: TargetName, method: string): QuantizationPlan {
  return {
    schema: 'qdq.plan/1',
    mode: 'weight-only',
    target,
    activationType: 'int8',
    weightType: settings.dtype,
    method,
    domain: settings.format === 'contrib' ? 'com.microsoft' : '',
    nodes: choices.map((choice) => planNode(choice, settings)),
    tensors: {},
    scales: {},
  };
}

function planNode(choice: WeightOnlyChoice, settings: WeightOnlySettings): PlannedNode {
  const { node } = choice;
  const base = { name: node.name || (node.outputs.find(Boolean) ?? ''), opType: node.opType };
  if (choice.form === null) return { ...base, decision: 'float', reason: choice.reason };
  const kernel = choice.form === 'lookup' ? 'GatherBlockQuantized' : 'MatMulNBits';
  return { ...base, decision: 'weights-only', reason: describe(weightForm(choice, settings), choice, settings), kernel };
}

function describe(form: WeightForm, { form: use }: WeightOnlyNode, { dtype, accuracyLevel }: WeightOnlySettings): string {
  const short = dtypeInfo(dtype).short;
  const stored = form.as === 'channels' ? `in ${short} with one scale ${form.perTensor ? 'in all' : 'a channel'}` : `in ${short} in blocks of ${form.format.blockSize}`;
  if (use === 'lookup') return `its table is stored ${stored} and dequantized after the lookup`;
  return `its weight is stored ${stored}; ${accuracyLevel === 4 ? 'activations become int8 in each run' : 'multiplied in float'}`;
}
