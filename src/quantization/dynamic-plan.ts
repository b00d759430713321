import { intAttribute } from '../graph/attributes.js';
import { QdqError } from '../errors.js';
import type { Node } from '../graph/model.js';
import type { QuantizedType } from '../tensor/affine.js';
import type { Tensor } from '../tensor/tensor.js';
import type { DynamicChoice, DynamicNode } from './dynamic-select.js';
import type { PlannedConstant, PlannedNode, QuantizationPlan } from './plan.js';
import type { Scope } from './scopes.js';
import type { TargetName } from './target.js';
import type { MeasuredWeight } from './weight-work.js';
import { channelMaxima, quantizationSqnr, scalesFromMaxima, weightLimit, weightZeroPoint } from './weights.js';

/** How weights become integers; activations are always u8, which is what DynamicQuantizeLinear gives. */
export interface DynamicOptions {
  readonly target: TargetName;
  readonly weightType: QuantizedType;
  readonly perChannel: boolean;
  readonly reduceRange: boolean;
  /** Operator set of the model: per-channel DequantizeLinear is in the ONNX domain from 13 on, in com.microsoft before. */
  readonly opset: number;
}

/** Below this, rows looked up would carry more error than all else that dynamic quantization does. */
const MIN_TABLE_SQNR_DB = 30;

/**
 * Turns choices into a plan: one entry for each node of the graph and its bodies, in the order of `allNodes`. Scales of weights are
 * computed here; those of activations the runtime computes. Throws `model-invalid` where a weight is not finite.
 */
export function planDynamic(choices: readonly DynamicChoice[], options: DynamicOptions): QuantizationPlan {
  const scales = new ScaleTable(options);
  const shared = sharedInputs(choices);
  return {
    schema: 'qdq.plan/1',
    mode: 'dynamic',
    target: options.target,
    activationType: 'uint8',
    weightType: options.weightType,
    method: 'runtime',
    domain: options.opset >= 13 ? '' : 'com.microsoft',
    nodes: choices.map((choice): PlannedNode => {
      const base = { name: nameOf(choice.node), opType: choice.node.opType };
      if (choice.form === null) return { ...base, decision: choice.takenBy ? 'quantized' : 'float', reason: choice.reason, ...takenBy(choice.takenBy) };
      if (choice.form === 'lookup') return { ...base, ...planLookup(choice, scales, options) };
      const constants = Object.fromEntries([...choice.weights].map(([i, { name, tensor }]) => [i, scales.plan(name, tensor, choice, options.weightType)]));
      return { ...base, decision: 'quantized', reason: null, kernel: kernelOf(choice, shared), constants };
    }),
    tensors: {},
    scales: scales.entries,
  };
}

function takenBy(node: Node | undefined): Pick<PlannedNode, 'takenBy'> {
  return node ? { takenBy: nameOf(node) } : {};
}

const nameOf = (node: Node) => node.name || (node.outputs.find(Boolean) ?? '');

/** A lookup gives the same numbers as ever, from a table in s8; one scale a column, so that columns of outliers spoil no other. */
function planLookup(choice: DynamicNode, scales: ScaleTable, options: DynamicOptions): Pick<PlannedNode, 'decision' | 'reason' | 'constants'> {
  const { name, tensor } = choice.weights.get(0)!;
  const planned = scales.plan(name, tensor, choice, 'int8');
  const sqnr = quantizationSqnr(tensor, planned.axis, scales.entries[planned.scales]!, planned.limit!);
  if (sqnr < MIN_TABLE_SQNR_DB) {
    return { decision: 'float', reason: `its table "${name}" would keep only ${sqnr.toFixed(1)} dB (below ${MIN_TABLE_SQNR_DB})` };
  }
  const form = options.perChannel ? 'one scale a column' : 'one scale';
  return { decision: 'weights-only', reason: `its table is stored in s8 with ${form} (${sqnr.toFixed(1)} dB) and dequantized after the lookup`, constants: { 0: planned } };
}

/** Values that several products of one graph read, so that they share one DynamicQuantizeLinear. */
function sharedInputs(choices: readonly DynamicChoice[]): ReadonlyMap<Scope['graph'], ReadonlySet<string>> {
  const seen = new Map<Scope['graph'], Set<string>>();
  const shared = new Map<Scope['graph'], Set<string>>();
  const put = (sets: Map<Scope['graph'], Set<string>>, graph: Scope['graph'], value: string) => sets.set(graph, (sets.get(graph) ?? new Set()).add(value));
  for (const { form, node, scope } of choices) {
    if (form === null || form === 'lookup' || form === 'lstm') continue;
    const value = node.inputs[0]!;
    put(seen.get(scope.graph)?.has(value) ? shared : seen, scope.graph, value);
  }
  return shared;
}

function kernelOf({ form, node, scope }: DynamicNode, shared: ReturnType<typeof sharedInputs>): string {
  if (form === 'lstm') return 'DynamicQuantizeLSTM';
  if (form === 'conv') return 'ConvInteger';
  return shared.get(scope.graph)?.has(node.inputs[0]!) ? 'MatMulIntegerToFloat' : 'DynamicQuantizeMatMul';
}

/** Axis of the output channels in the float weight; null where there is one scale in all. For an LSTM, of all gates, in each direction. */
function channelAxis({ form, node }: DynamicNode, { dims }: Tensor, perChannel: boolean): number | null {
  switch (form) {
    case 'lstm':
      return perChannel ? 1 : 0;
    case 'conv':
      return perChannel ? 0 : null;
    case 'gemm':
      return !perChannel ? null : intAttribute(node, 'transB', 0) !== 0 ? 0 : 1;
    case 'matmul':
    case 'lookup':
      return perChannel && dims.length === 2 ? 1 : null;
  }
}

/** The weight with its channels along one axis: those of an LSTM are counted through its directions. */
export function flatChannels(tensor: Tensor, axis: number | null): { readonly tensor: Tensor; readonly axis: number | null } {
  const [directions, gates, inputs] = tensor.dims;
  if (tensor.dims.length !== 3 || axis !== 1) return { tensor, axis };
  return { tensor: { dtype: tensor.dtype, dims: [directions! * gates!, inputs!], storage: tensor.storage }, axis: 0 };
}

/** The weights whose largest magnitudes a plan will ask for. */
export function weightsToMeasure(choices: readonly DynamicChoice[], { perChannel }: Pick<DynamicOptions, 'perChannel'>): MeasuredWeight[] {
  return choices.flatMap((choice) =>
    choice.form === null ? [] : [...choice.weights.values()].map(({ tensor }) => flatChannels(tensor, channelAxis(choice, tensor, perChannel))),
  );
}

/** Scales of weights by key, computed once for each weight, axis and type. */
class ScaleTable {
  readonly entries: Record<string, readonly number[]> = {};
  readonly #options: DynamicOptions;
  readonly #keys = new Map<Tensor, Map<string, string>>();

  constructor(options: DynamicOptions) {
    this.#options = options;
  }

  plan(name: string, tensor: Tensor, choice: DynamicNode, dtype: QuantizedType): PlannedConstant {
    const axis = channelAxis(choice, tensor, this.#options.perChannel);
    // A lookup multiplies nothing, so its integers need not leave room for sums.
    const limit = weightLimit(dtype, this.#options.reduceRange && choice.form !== 'lookup');
    return { dtype, axis, scales: this.#scales(name, tensor, axis, limit, choice), zeroPoint: weightZeroPoint(dtype), limit };
  }

  #scales(name: string, tensor: Tensor, axis: number | null, limit: number, { node }: DynamicNode): string {
    const keys = this.#keys.get(tensor) ?? new Map<string, string>();
    this.#keys.set(tensor, keys);
    const way = `${axis}/${limit}`;
    const known = keys.get(way);
    if (known !== undefined) return known;
    const flat = flatChannels(tensor, axis);
    const maxima = channelMaxima(flat.tensor, flat.axis);
    if (!maxima.every(Number.isFinite)) {
      throw new QdqError('model-invalid', `the weight "${name}" contains NaN or infinity`, `Leave its node in float: --exclude "${node.name || node.outputs[0]}".`);
    }
    const hint = axis === null ? name : `${name}@${axis}`;
    let key = hint;
    // Bodies beside each other may use a name for different weights, and a tied table has a limit of its own.
    for (let i = 1; key in this.entries; i++) key = `${hint}#${i}`;
    this.entries[key] = [...scalesFromMaxima(maxima, limit)];
    keys.set(way, key);
    return key;
  }
}
