import type { Model } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { prepareModel, type PreparedModel } from '../../src/prepare-model.js';
import type { PlannedConstant, PlannedNode, QuantizationPlan } from '../../src/quantization/plan.js';
import { planStatic, type Range, type StaticOptions } from '../../src/quantization/plan-static.js';
import { selectNodes, valuesToObserve, type Selection } from '../../src/quantization/select.js';
import { applyStaticPlan } from '../../src/quantization/static-qdq.js';
import type { QuantizedType } from '../../src/tensor/affine.js';
import { Planner } from '../../src/search/planner.js';
import { verifyPlan, type VerifiedPlan } from '../../src/verify-plan.js';
import type { RuntimeHost } from '../../src/runtime/host.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { numbersOf } from '../../src/tensor/values.js';
import { randomFeeds, runModel } from '../helpers/run-model.js';

/** What plans are made with unless a test says otherwise: weights in 7 bits, so that products are exact on every machine. */
export const OPTIONS: StaticOptions = {
  target: 'ort-x64',
  activationType: 'uint8',
  weightType: 'int8',
  perChannel: true,
  symmetricActivations: false,
  reduceRange: true,
  method: 'min-max',
};

/** A model prepared and selected, on which plans can be made. */
export interface SelectedModel {
  readonly prepared: PreparedModel;
  readonly selection: Selection;
}

type KeptFloat = (node: { readonly name: string }) => string | undefined;

/** Cleans a model and chooses its nodes. */
export async function selectIn(host: RuntimeHost, model: Model, keptFloat?: KeptFloat): Promise<SelectedModel> {
  return selectAgain(await prepareModel(host, model, '/nowhere'), keptFloat);
}

/** Chooses the nodes of a model that was cleaned before. */
export function selectAgain(prepared: PreparedModel, keptFloat?: KeptFloat): SelectedModel {
  const opset = prepared.model.opsets.get('') ?? 1;
  return { prepared, selection: selectNodes(prepared.model.graph, prepared.types, keptFloat ? { opset, keptFloat } : { opset }) };
}

/** The plan under given ranges; values without a range take [−1, 3], or have none. */
export function planWith(
  { prepared, selection }: SelectedModel,
  ranges: Readonly<Record<string, Range>> = {},
  options: Partial<StaticOptions> = {},
  unknown: 'default' | 'refuse' = 'default',
): QuantizationPlan {
  const rangeOf = (value: string): Range | undefined => ranges[value] ?? (unknown === 'default' ? [-1, 3] : undefined);
  return planStatic(prepared.model, selection, prepared.types, rangeOf, { ...OPTIONS, ...options });
}

/** Inputs of a few runs, and the smallest and largest number of each value that a plan needs. */
export interface Observed {
  readonly samples: readonly ReadonlyMap<string, Tensor>[];
  readonly ranges: Readonly<Record<string, Range>>;
}

/** Runs the prepared model on noise and takes the extremes of each value. */
export async function observe({ prepared, selection }: SelectedModel, count = 4): Promise<Observed> {
  const { model } = prepared;
  const names = valuesToObserve(selection);
  const declared = new Set(model.graph.outputs.map(({ name }) => name));
  const inputs = new Set(model.graph.inputs.map(({ name }) => name));
  const more = names.filter((name) => !declared.has(name) && !inputs.has(name)).map((name) => ({ name, type: { kind: 'none' } as const }));
  const bytes = encodeModel({ ...model, graph: { ...model.graph, outputs: [...model.graph.outputs, ...more] } });
  const samples: ReadonlyMap<string, Tensor>[] = [];
  const ranges: Record<string, Range> = {};
  for (let i = 0; i < count; i++) {
    const feeds = await randomFeeds(bytes, 100 * (i + 1));
    const values = await runModel(bytes, feeds);
    for (const [name, tensor] of feeds) if (tensor.dtype === 'float32') values.set(name, Float64Array.from(numbersOf(tensor)));
    for (const name of names) {
      const [low, high] = ranges[name] ?? [Infinity, -Infinity];
      ranges[name] = values.get(name)!.reduce<Range>(([min, max], value) => [Math.min(min, value), Math.max(max, value)], [low, high]);
    }
    samples.push(feeds);
  }
  return { samples, ranges };
}

/** The quantized model as bytes. */
export function quantizedBytes({ prepared }: SelectedModel, plan: QuantizationPlan): Uint8Array {
  return encodeModel(applyStaticPlan(prepared.model, plan));
}

/** A plan as text: a line for each node, then one for each tensor. */
export function planText(plan: QuantizationPlan): string {
  const tensors = Object.entries(plan.tensors).map(([name, { dtype, scale, zeroPoint, sharedWith }]) =>
    sharedWith === undefined ? `${name}: ${dtype} scale ${scale.toPrecision(4)} zero ${zeroPoint}` : `${name}: as ${sharedWith}`,
  );
  return [...(plan.domain === '' ? [] : [`Q/DQ of ${plan.domain}`]), ...plan.nodes.map(nodeText), '--', ...tensors].join('\n');
}

function nodeText(node: PlannedNode): string {
  const head = `${node.name} ${node.opType}`;
  if (node.decision !== 'quantized') return `${head}: ${node.decision}${node.reason === null ? '' : `, ${node.reason}`}`;
  if (node.takenBy !== undefined) return `${head}: part of ${node.takenBy}`;
  const parts = [
    `reads ${Object.entries(node.activations ?? {}).map(([i, value]) => `${i}:${value}`).join(' ')}`,
    ...Object.entries(node.constants ?? {}).map(([i, constant]) => `${i}:${constantText(constant)}`),
    ...(node.biasAdd ? [`bias in ${node.biasAdd.name}:${node.biasAdd.input} ${node.biasAdd.as === 'float' ? 'float' : constantText(node.biasAdd.constant)}`] : []),
    ...(node.outputs ? [`makes ${node.outputs.join(' ')}`] : []),
    ...(node.pairBefore === undefined ? [] : [`pair before ${node.pairBefore}`]),
  ];
  return `${head}: ${parts.join(', ')}`;
}

function constantText({ dtype, axis }: PlannedConstant): string {
  return axis === null ? dtype : `${dtype}@${axis}`;
}

/** Verifies a plan of which nothing is dynamic. */
export function verifyStatic(host: RuntimeHost, { prepared: { model, types } }: SelectedModel, plan: QuantizationPlan): Promise<VerifiedPlan> {
  const settings = { target: plan.target, activationType: plan.activationType as QuantizedType, perChannel: true, symmetricActivations: false };
  const planner = new Planner({ float: model, types, settings, keptFloat: () => undefined, unplanned: new Map<string, string>(), allowsOthers: false, fixed: new Map<string, 'static'>() });
  const dynamicOptions = { target: plan.target, weightType: plan.weightType as QuantizedType, perChannel: true, reduceRange: false, opset: 13 };
  return verifyPlan(host, planner, { model, migration: undefined, biases: {}, plan, others: new Map(), bodies: new Map(), dynamicOptions }, '/nowhere');
}
