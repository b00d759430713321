import { intAttribute, mapSubgraphs, stringAttribute, subgraphsOf, withAttributes } from '../graph/attributes.js';
import { createNode, GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Attribute, Graph, Model, Node, ValueInfo } from '../graph/model.js';
import type { Change } from '../passes/pass.js';
import { memoryStorage, type Tensor } from '../tensor/tensor.js';
import { isWorthHalving, storeHalves, widened } from './float16-bodies.js';
import { clampedText, halfTensor } from './float16-tensors.js';
import type { ValueTypes } from './select.js';

/** How a model becomes float16. */
export interface Float16Options {
  /** Inputs and outputs stay float32. */
  readonly keepIoTypes: boolean;
  /** Operator types that stay float32 on top of those that must. */
  readonly float32Ops: readonly string[];
  /** Why a node stays float32; undefined where it may be converted. */
  readonly keptFloat: (node: Node) => string | undefined;
}

/** A model in float16, and which of its nodes are. */
export interface Float16Model {
  readonly model: Model;
  /** Why nodes that work on floats stay float32. */
  readonly kept: ReadonlyMap<Node, string>;
  /** Nodes that now work on float16. */
  readonly converted: ReadonlySet<Node>;
  /** Constants of bodies that are stored in float16 and computed with in float32. */
  readonly stored: readonly string[];
  readonly changes: readonly Change[];
}

/**
 * Operators that have no float16 form in the standard, or whose result depends on counting so far that eleven bits are too few.
 * Source: type constraints of onnx/docs/Operators.md (ONNX 1.20).
 */
const NEVER = /^(Range|CumSum|NonMaxSuppression|EyeLike|IsInf|Bernoulli|Multinomial|Random(Normal|Uniform)(Like)?|MelWeightMatrix|(Hann|Hamming|Blackman)Window|TfIdfVectorizer|DynamicQuantizeLinear|Sequence\w*|SplitToSequence|ConcatFromSequence|Optional\w*|STFT|DFT)$/;

/** Operators of the runtime's own domain that take float16 wherever they take float32. */
const CONTRIB = new Set(['MatMulNBits', 'GatherBlockQuantized']);

/** Inputs that are float32 whatever the others are. Source: as above. */
const FIXED_INPUTS: Readonly<Record<string, readonly number[]>> = { Resize: [1, 2], Upsample: [1] };

/** Operator set from which scales of Q and DQ may be float16. */
const FLOAT16_SCALES_OPSET = 19;

const FLOAT32_CODE = 1;
const FLOAT16_CODE = 10;
const NAMES_SHOWN = 5;

/**
 * Turns float32 constants and values into float16. A value that stays float32, because an operator has no other form or the caller wants it so, is
 * cast once for all readers that want the other type, and never back and forth. `types` are those of the main graph's values; control flow keeps
 * float32 inside, and only stores its constants in float16. Finite constants stay finite, those other than zero stay so, and `changes` names the clamped ones.
 */
export function toFloat16Model(model: Model, types: ValueTypes, options: Float16Options): Float16Model {
  return new Float16Conversion(model, types, options).run();
}

class Float16Conversion {
  readonly #model: Model;
  readonly #graph: Graph;
  readonly #index: GraphIndex;
  readonly #types: ValueTypes;
  readonly #options: Float16Options;
  readonly #editor: GraphEditor;
  readonly #kept = new Map<Node, string>();
  readonly #converted = new Set<Node>();
  /** Names of the other form of values, made at the first reader. */
  readonly #casts = new Map<string, string>();
  /** Names under which outputs are made in the other type. */
  readonly #moved = new Map<string, string>();
  readonly #halves = new Map<string, string>();
  readonly #clamped: string[] = [];
  readonly #stored: string[] = [];

  constructor(model: Model, types: ValueTypes, options: Float16Options) {
    this.#model = model;
    this.#graph = model.graph;
    this.#index = indexOf(model.graph);
    this.#types = types;
    this.#options = options;
    this.#editor = new GraphEditor(model.graph);
  }

  run(): Float16Model {
    for (const node of this.#graph.nodes) this.#decide(node);
    // A Cast that only float32 readers read would be cast back for each of them.
    for (const node of this.#graph.nodes) if (this.#isWidening(node) && this.#hasOnlyFloat32Readers(node)) this.#converted.delete(node);
    for (const output of this.#graph.outputs) this.#moveOutput(output.name);
    for (const node of this.#graph.nodes) this.#rewrite(node);
    const graph = this.#retyped(this.#editor.finish());
    return { model: { ...this.#model, graph }, kept: this.#kept, converted: this.#converted, stored: this.#stored, changes: this.#changes() };
  }

  #isFloat(value: string): boolean {
    const constant = this.#index.constant(value) ?? this.#graph.initializers.get(value);
    if (constant) return constant.dtype === 'float32';
    const type = this.#types.get(value) ?? this.#index.info(value)?.type;
    return type?.kind === 'tensor' && type.dtype === 'float32';
  }

  #decide(node: Node): void {
    const floats = [...node.inputs, ...node.outputs].filter((value) => value && this.#isFloat(value));
    if (floats.length === 0 && subgraphsOf(node).length === 0) return;
    const reason = this.#obstacle(node) ?? this.#options.keptFloat(node);
    if (reason === undefined) this.#converted.add(node);
    else this.#kept.set(node, reason);
  }

  #obstacle(node: Node): string | undefined {
    const { opType, domain } = node;
    const sparse = node.inputs.find((value) => this.#graph.sparseInitializers.includes(value)) ?? (node.attributes.has('sparse_value') ? node.outputs[0] : undefined);
    if (sparse !== undefined) return `"${sparse}" is a sparse constant`;
    if (subgraphsOf(node).length > 0) return `${opType} computes in float32 in its bodies`;
    if (domain !== '' && !(domain === 'com.microsoft' && CONTRIB.has(opType))) return `${domain} ${opType} is not known to take float16`;
    if (this.#movesBatch(node)) return 'onnxruntime 1.30 ends the process where it fuses such a float16 Transpose with the MatMul after it';
    if (NEVER.test(opType)) return `${opType} has no float16 form`;
    if (/^(Q|Deq)uantizeLinear$/i.test(opType) && (this.#model.opsets.get('') ?? 1) < FLOAT16_SCALES_OPSET) return `${opType} takes float16 from operator set ${FLOAT16_SCALES_OPSET} on`;
    if (/^Scatter(Elements|ND)$/.test(opType) && stringAttribute(node, 'reduction', 'none') !== 'none') return `${opType} that reduces has no float16 kernel in onnxruntime`;
    if (this.#options.float32Ops.includes(opType)) return `${opType} is among --float32-ops`;
    return undefined;
  }

  /**
   * A Transpose that brings the first axis to the matrix of a product: perm 1, …, n − 2 and then 0 and n − 1 in either order. The runtime's
   * transBatch forms of FusedMatMul, which it makes of that, have no float16 kernel.
   */
  #movesBatch({ opType, attributes, outputs }: Node): boolean {
    const perm = attributes.get('perm');
    if (opType !== 'Transpose' || perm?.kind !== 'ints' || perm.value.length < 3) return false;
    const axes = perm.value.map(Number);
    const isShifted = axes.slice(0, -2).every((axis, i) => axis === i + 1) && axes.slice(-2).includes(0);
    return isShifted && this.#index.uses(outputs[0]!).some(({ node }) => node.opType === 'MatMul');
  }

  /** Whether a value is float16 where it is made. */
  #isHalf(value: string): boolean {
    const producer = this.#index.producer(value);
    if (producer) return this.#converted.has(producer);
    return !this.#options.keepIoTypes && this.#index.isInput(value);
  }

  #isWidening(node: Node): boolean {
    return node.opType === 'Cast' && this.#converted.has(node) && intAttribute(node, 'to', 0) === FLOAT32_CODE;
  }

  #hasOnlyFloat32Readers(node: Node): boolean {
    const value = node.outputs[0]!;
    const uses = this.#index.uses(value);
    return uses.length > 0 && uses.every((use) => !this.#converted.has(use.node)) && !(this.#index.isOutput(value) && !this.#options.keepIoTypes);
  }

  #rewrite(node: Node): void {
    const half = this.#converted.has(node);
    const fixed = half ? (FIXED_INPUTS[node.opType] ?? []) : [];
    const inputs = node.inputs.map((value, i) => (value && this.#isFloat(value) ? this.#read(value, half && !fixed.includes(i)) : value));
    let changed = inputs.some((value, i) => value !== node.inputs[i]) ? { ...node, inputs } : node;
    if (half) changed = withHalfAttributes(changed);
    else if (subgraphsOf(node).length > 0) changed = this.#withBodies(node);
    if (node.outputs.some((output) => this.#moved.has(output))) changed = { ...changed, outputs: node.outputs.map((output) => this.#moved.get(output) ?? output) };
    if (changed !== node) this.#editor.replace(node, changed);
  }

  #withBodies(node: Node): Node {
    const reading = renameInputs(node, (value) => (value && this.#isFloat(value) ? this.#readInBody(value) : value));
    return mapSubgraphs(reading, (body) => storeHalves(body, this.#editor.names, (name, tensor) => this.#noteStored(name, tensor)));
  }

  #noteStored(name: string, tensor: Tensor): void {
    this.#stored.push(name);
    const clamped = clampedText(name, tensor);
    if (clamped !== undefined) this.#clamped.push(clamped);
  }

  /** A large constant that bodies read is stored as float16; the runtime widens it once, while it loads the model. */
  #readInBody(value: string): string {
    const constant = this.#index.constant(value);
    if (!constant || !isWorthHalving(constant)) return this.#read(value, false);
    const known = this.#casts.get(value);
    if (known !== undefined) return known;
    const cast = widened(this.#halfConstant(value, constant), value, this.#editor.names);
    this.#casts.set(value, cast.outputs[0]!);
    this.#editor.add(cast);
    this.#stored.push(value);
    return cast.outputs[0]!;
  }

  /** The name under which a value can be read as float16 or as float32. */
  #read(value: string, half: boolean): string {
    const constant = this.#index.constant(value);
    if (constant) return half ? this.#halfConstant(value, constant) : value;
    if (this.#isHalf(value) === half) return this.#moved.get(value) ?? value;
    if (this.#moved.has(value)) return value;
    const known = this.#casts.get(value);
    if (known !== undefined) return known;
    const name = this.#editor.names.unique(`${value}_${half ? 'f16' : 'f32'}`);
    this.#casts.set(value, name);
    this.#editor.add(this.#cast(value, name, half));
    return name;
  }

  #cast(from: string, to: string, half: boolean): Node {
    const attributes = { to: { kind: 'int', value: half ? FLOAT16_CODE : FLOAT32_CODE } as const };
    return createNode({ name: this.#editor.names.unique(`${to}_Cast`), opType: 'Cast', inputs: [from], outputs: [to], attributes });
  }

  #halfConstant(name: string, tensor: Tensor): string {
    const known = this.#halves.get(name);
    if (known !== undefined) return known;
    const half = this.#editor.addInitializer(`${name}_f16`, halfTensor(tensor));
    this.#halves.set(name, half);
    const clamped = clampedText(name, tensor);
    if (clamped !== undefined) this.#clamped.push(clamped);
    return half;
  }

  /** An output keeps its name: where it is made in the other type, that goes by another one. */
  #moveOutput(name: string): void {
    const producer = this.#index.producer(name);
    if (!producer || !this.#isFloat(name) || this.#isHalf(name) !== this.#options.keepIoTypes) return;
    const inner = this.#editor.names.unique(`${name}_${this.#isHalf(name) ? 'f16' : 'f32'}`);
    this.#moved.set(name, inner);
    this.#editor.add(this.#cast(inner, name, !this.#options.keepIoTypes));
  }

  /** The graph with the types that its declarations have now. */
  #retyped(graph: Graph): Graph {
    const half = (value: ValueInfo): ValueInfo =>
      value.type.kind === 'tensor' && value.type.dtype === 'float32' && !this.#options.keepIoTypes ? { ...value, type: { ...value.type, dtype: 'float16' } } : value;
    const isFloat = ({ type }: ValueInfo) => type.kind === 'tensor' && type.dtype === 'float32';
    return { ...graph, inputs: graph.inputs.map(half), outputs: graph.outputs.map(half), valueInfo: graph.valueInfo.filter((value) => !isFloat(value)) };
  }

  #changes(): Change[] {
    return [...this.#storedChange(), ...this.#clampedChange()];
  }

  #storedChange(): Change[] {
    if (this.#stored.length === 0) return [];
    return [{ pass: 'float16', names: this.#stored, message: `${this.#stored.length} constants of bodies are stored in float16, and the runtime makes them float32 as it loads the model` }];
  }

  #clampedChange(): Change[] {
    if (this.#clamped.length === 0) return [];
    const shown = this.#clamped.slice(0, NAMES_SHOWN).join('; ');
    const more = this.#clamped.length - NAMES_SHOWN;
    const message = `values of constants that float16 does not hold were clamped: ${shown}${more > 0 ? `; and ${more} more` : ''}`;
    return [{ pass: 'float16', names: this.#clamped.map((text) => text.replace(/ \(.*$/, '')), message }];
  }
}

/** Attributes that say float32 in so many words. */
function withHalfAttributes(node: Node): Node {
  const changes: Record<string, Attribute> = {};
  if (node.opType === 'ConstantOfShape' && !node.attributes.has('value')) changes['value'] = { kind: 'tensor', value: { dtype: 'float16', dims: [1], storage: memoryStorage(new Uint8Array(2)) } };
  for (const [name, attribute] of node.attributes) {
    if (attribute.kind === 'tensor' && attribute.value.dtype === 'float32') changes[name] = { kind: 'tensor', value: halfTensor(attribute.value) };
    else if (node.opType === 'Cast' && name === 'to' && intAttribute(node, 'to', 0) === FLOAT32_CODE) changes[name] = { kind: 'int', value: FLOAT16_CODE };
  }
  return Object.keys(changes).length > 0 ? withAttributes(node, changes) : node;
}
