import { intAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { affineAlong } from '../tensor/affine-along.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import type { ValueTypes } from './select.js';
import { channelMaxima } from './weights.js';

/** A constant of one number a channel that a node applies to its result. */
interface ChannelConstant {
  readonly node: Node;
  readonly input: number;
}

/** A product with a constant weight, and the axis of the weight that it sums over. */
interface SummingProduct {
  readonly node: Node;
  readonly axis: 0 | 1;
}

/** An activation whose channels can be scaled down where it is made, or where products read it, and up again in their weights. */
export interface MigrationSite {
  /** The activation, with the channels on its last axis. */
  readonly value: string;
  readonly channels: number;
  readonly products: readonly SummingProduct[];
  /** What the scales go into; empty where others read the activation as it is, so that a Mul before the products takes them. */
  readonly constants: readonly ChannelConstant[];
  /** Values whose channels are scaled where the constants take the scales. */
  readonly scaled: readonly string[];
}

/** The scales of one site: channel c of the activation is divided by 2^(steps[c] / 4). Whole numbers, so that a record gives the same scales anywhere. */
export interface SiteScales {
  readonly value: string;
  readonly steps: readonly number[];
}

/** Powers 2^(i / 4): as numbers, because what a power function gives may differ in its last bit from machine to machine. */
const FRACTIONS = [1, 1.189207115002721, 1.4142135623730951, 1.681792830507429] as const;

/** Steps in a factor of two. Whole powers of two cost up to 3 dB against exact scales, and these less than 1. */
const STEPS_PER_OCTAVE = FRACTIONS.length;

/** Scales beyond this would only move small numbers out of float32. */
const MAX_STEPS = 20 * STEPS_PER_OCTAVE;

/** 2^(steps / 4). */
export function scaleOf(steps: number): number {
  const octave = Math.floor(steps / STEPS_PER_OCTAVE);
  return 2 ** octave * FRACTIONS[steps - STEPS_PER_OCTAVE * octave]!;
}

/** Normalizations by operator, with their inputs that hold one number a channel. */
const NORMALIZATIONS: Readonly<Record<string, readonly number[]>> = {
  LayerNormalization: [1, 2],
  SimplifiedLayerNormalization: [1],
  RMSNormalization: [1],
  SkipLayerNormalization: [2, 3],
  SkipSimplifiedLayerNormalization: [2],
};

/**
 * Where scales can move from activations into weights: MatMul and Gemm with a constant weight behind a normalization (one operator, or its last
 * Mul and Add) or a Mul by one number a channel. Products that read one activation, also through operators that keep its last axis, share their
 * scales. After Xiao et al., "SmoothQuant", 2022.
 */
export function migrationSites(graph: Graph, types: ValueTypes): MigrationSite[] {
  const index = indexOf(graph);
  return graph.nodes.flatMap((node) => {
    const value = node.outputs[0] ?? '';
    const found = channelConstants(index, node);
    if (!found) return [];
    const { channels, constants, between } = found;
    const readers = readersOf(index, types, value, channels);
    const products = readers.products.filter(({ node: { inputs } }) => readers.isWhole || inputs[0] === value);
    // A weight that others read would be stored twice.
    const isOwn = ({ node: { inputs } }: SummingProduct) => index.uses(inputs[1]!).every(({ node: reader }) => products.some((product) => product.node === reader));
    if (products.length === 0 || !products.every(isOwn)) return [];
    return readers.isWhole
      ? [{ value, channels, products, constants, scaled: [...between, value, ...readers.carried] }]
      : [{ value, channels, products, constants: [], scaled: [] }];
  });
}

/** The constants that a node's result, along its last axis, is proportional to; undefined where there are none. */
function channelConstants(index: GraphIndex, node: Node): { channels: number; constants: ChannelConstant[]; between: string[] } | undefined {
  const vector = ({ inputs }: Node, input: number) => lengthOfVector(index.constant(inputs[input] ?? ''));
  const norm = ['', 'com.microsoft'].includes(node.domain) ? NORMALIZATIONS[node.opType] : undefined;
  if (norm) {
    const inputs = norm.filter((input) => node.inputs[input]);
    const [channels] = inputs.map((input) => vector(node, input));
    // Whatever axes it normalizes, a vector is multiplied along the last.
    if (channels === undefined || inputs.some((input) => vector(node, input) !== channels)) return undefined;
    return { channels, constants: inputs.map((input) => ({ node, input })), between: [] };
  }
  if (node.domain !== '') return undefined;
  const factor = (candidate: Node): ChannelConstant | undefined => {
    const input = [0, 1].find((i) => vector(candidate, i) !== undefined);
    return candidate.opType === 'Mul' && candidate.domain === '' && input !== undefined ? { node: candidate, input } : undefined;
  };
  if (node.opType === 'Mul') {
    const own = factor(node);
    const next = soleReader(index, node.outputs[0]!);
    // What an Add of a vector follows belongs to that.
    if (!own || (next?.opType === 'Add' && next.inputs.some((_, i) => vector(next, i) === vector(node, own.input)))) return undefined;
    return { channels: vector(node, own.input)!, constants: [own], between: [] };
  }
  if (node.opType !== 'Add') return undefined;
  const bias = [0, 1].find((i) => vector(node, i) !== undefined);
  const scaled = bias === undefined ? undefined : node.inputs[1 - bias]!;
  const producer = scaled === undefined ? undefined : index.producer(scaled);
  const own = producer && factor(producer);
  if (!own || bias === undefined || soleReader(index, scaled!) !== node || vector(own.node, own.input) !== vector(node, bias)) return undefined;
  return { channels: vector(node, bias)!, constants: [own, { node, input: bias }], between: [scaled!] };
}

/** Elements of a float constant whose last axis has them all; undefined where it is none, or has one only. */
function lengthOfVector(tensor: Tensor | undefined): number | undefined {
  if (tensor?.dtype !== 'float32') return undefined;
  const last = tensor.dims.at(-1) ?? 1;
  return last > 1 && tensor.dims.slice(0, -1).every((dim) => dim === 1) ? last : undefined;
}

interface Readers {
  readonly products: readonly SummingProduct[];
  /** Values that carry the activation's channels on their last axis. */
  readonly carried: readonly string[];
  /** Whether nothing else reads the activation. */
  readonly isWhole: boolean;
}

function readersOf(index: GraphIndex, types: ValueTypes, value: string, channels: number): Readers {
  const products: SummingProduct[] = [];
  const carried: string[] = [];
  let isWhole = !index.isOutput(value);
  for (const { node, input } of index.uses(value)) {
    const product = input === 0 ? summingProduct(index, node, channels) : undefined;
    const output = node.outputs[0]!;
    if (product) products.push(product);
    else if (input === 0 && keepsLastAxis(types, node, channels)) {
      const behind = readersOf(index, types, output, channels);
      products.push(...behind.products);
      carried.push(output, ...behind.carried);
      isWhole &&= behind.isWhole;
    } else isWhole = false;
  }
  return { products, carried, isWhole };
}

function summingProduct(index: GraphIndex, node: Node, channels: number): SummingProduct | undefined {
  const weight = index.constant(node.inputs[1] ?? '');
  if (node.domain !== '' || weight?.dtype !== 'float32' || weight.dims.length !== 2) return undefined;
  const isGemm = node.opType === 'Gemm' && intAttribute(node, 'transA', 0) === 0;
  if (node.opType !== 'MatMul' && !isGemm) return undefined;
  const axis = isGemm && intAttribute(node, 'transB', 0) !== 0 ? 1 : 0;
  return weight.dims[axis] === channels ? { node, axis } : undefined;
}

/** Whether a node only rearranges what it reads, and leaves its last axis as it is. */
function keepsLastAxis(types: ValueTypes, node: Node, channels: number): boolean {
  if (node.domain !== '') return false;
  const shapeOf = (value: string) => {
    const type = types.get(value);
    return type?.kind === 'tensor' ? type.shape : undefined;
  };
  const shapes = [shapeOf(node.inputs[0]!), shapeOf(node.outputs[0]!)];
  if (shapes.some((shape) => shape?.at(-1) !== channels)) return false;
  switch (node.opType) {
    case 'Identity':
    case 'Reshape':
    case 'Squeeze':
    case 'Unsqueeze':
      return true;
    case 'Transpose': {
      const perm = node.attributes.get('perm');
      return perm?.kind === 'ints' && Number(perm.value.at(-1)) === perm.value.length - 1;
    }
    default:
      return false;
  }
}

/** Largest magnitude of each channel over the weights of a site's products. */
export function siteWeightMaxima(graph: Graph, { products, channels }: MigrationSite): Float64Array {
  const index = indexOf(graph);
  const maxima = new Float64Array(channels);
  for (const { node, axis } of products) {
    const own = channelMaxima(index.constant(node.inputs[1]!)!, axis);
    for (let c = 0; c < channels; c++) maxima[c] = Math.max(maxima[c]!, own[c]!);
  }
  return maxima;
}

/** The scales max|x|^α / max|w|^(1 − α) of each channel as steps around their median. Channels that are zero keep theirs. */
export function scaleSteps(activationMaxima: ArrayLike<number>, weightMaxima: ArrayLike<number>, alpha: number): number[] {
  const logs = Array.from(activationMaxima, (x, c) => alpha * Math.log2(x) - (1 - alpha) * Math.log2(weightMaxima[c]!));
  const known = logs.filter(Number.isFinite).sort((a, b) => a - b);
  const middle = known[known.length >> 1] ?? 0;
  return logs.map((log) => (Number.isFinite(log) ? Math.max(-MAX_STEPS, Math.min(MAX_STEPS, Math.round(STEPS_PER_OCTAVE * (log - middle)))) : 0));
}

/** A model with scales moved, and its values that are new: each takes the place of another one for the products. */
export interface MigratedModel {
  readonly model: Model;
  readonly inserted: ReadonlyMap<string, string>;
}

/** Moves scales from activations into weights. Sites that are not named stay as they are. */
export function migrateScales(model: Model, sites: readonly MigrationSite[], scales: readonly SiteScales[]): MigratedModel {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const inserted = new Map<string, string>();
  const byValue = new Map(scales.map(({ value, steps }) => [value, steps]));
  for (const { value, products, constants } of sites) {
    const steps = byValue.get(value);
    if (!steps) continue;
    const up = steps.map(scaleOf);
    const down = steps.map((step) => scaleOf(-step));
    const renamed = new Map<string, string>();
    const scaledInput = (name: string, axis: number, factors: readonly number[]): string => {
      let found = renamed.get(name);
      if (found === undefined) renamed.set(name, (found = editor.addInitializer(`${name}_migrated`, affineAlong(index.constant(name)!, axis, factors))));
      return found;
    };
    const replace = (node: Node, changed: Readonly<Record<number, string>>) => editor.replace(node, { ...node, inputs: node.inputs.map((input, i) => changed[i] ?? input) });
    let read = value;
    if (constants.length === 0) {
      read = editor.names.unique(`${value}_migrated`);
      const factors = editor.addInitializer(`${value}_factors`, tensorFromArray('float32', [down.length], Float32Array.from(down)));
      editor.add(createNode({ name: editor.names.unique(`${read}_Mul`), opType: 'Mul', inputs: [value, factors], outputs: [read] }));
      inserted.set(read, value);
    }
    for (const node of new Set(constants.map((constant) => constant.node))) {
      const own = constants.filter((constant) => constant.node === node).map(({ input }) => input);
      replace(node, Object.fromEntries(own.map((input) => [input, scaledInput(node.inputs[input]!, index.constant(node.inputs[input]!)!.dims.length - 1, down)])));
    }
    for (const { node, axis } of products) {
      replace(node, { ...(constants.length === 0 && { 0: read }), 1: scaledInput(node.inputs[1]!, axis, up) });
    }
  }
  return { model: { ...model, graph: editor.finish() }, inserted };
}
