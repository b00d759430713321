import { dtypeInfo } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { mapSubgraphs } from './attributes.js';
import { capturedValues, indexOf } from './graph-index.js';
import type { Attribute, Graph, Node, ValueInfo } from './model.js';
import { Names } from './names.js';
import { topologicalOrder } from './topology.js';

/** What `createNode` takes; attributes may be plain values. */
export interface NodeSpec {
  readonly name: string;
  readonly opType: string;
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** A new node. */
export function createNode(spec: NodeSpec): Node {
  return {
    name: spec.name,
    opType: spec.opType,
    domain: spec.domain ?? '',
    inputs: spec.inputs,
    outputs: spec.outputs,
    attributes: new Map(Object.entries(spec.attributes ?? {})),
  };
}

/**
 * Collects edits of one graph and makes a new graph of them. The graph given is not changed. Nodes are named by the objects
 * of the graph given; each may be replaced once.
 */
export class GraphEditor {
  readonly graph: Graph;
  readonly names: Names;
  readonly #replacements = new Map<Node, readonly Node[]>();
  readonly #added: Node[] = [];
  readonly #initializers: Map<string, Tensor>;
  readonly #renamedUses = new Map<string, string>();
  #inputs: readonly ValueInfo[];

  /** `names` of the graph around, where the graph is a body: new names must differ from those too. */
  constructor(graph: Graph, names: Names = new Names(graph)) {
    this.graph = graph;
    this.names = names;
    this.#initializers = new Map(graph.initializers);
    this.#inputs = graph.inputs;
  }

  /** Puts other nodes (none, to remove it) in the node's place. */
  replace(node: Node, ...by: readonly Node[]): void {
    this.#replacements.set(node, by);
  }

  isReplaced(node: Node): boolean {
    return this.#replacements.has(node);
  }

  /** Adds nodes; `finish` puts them where their inputs are ready. */
  add(...nodes: readonly Node[]): void {
    for (const node of nodes) this.#added.push(node);
  }

  /** Adds or overwrites a constant. */
  setInitializer(name: string, tensor: Tensor): void {
    this.#initializers.set(name, tensor);
  }

  /** Adds a constant under a free name, and returns the name. */
  addInitializer(hint: string, tensor: Tensor): string {
    const name = this.names.unique(hint);
    this.#initializers.set(name, tensor);
    return name;
  }

  /** Takes names out of the graph's inputs. */
  removeInputs(remove: ReadonlySet<string>): void {
    this.#inputs = this.#inputs.filter((value) => !remove.has(value.name));
  }

  /** Lets every reader of `from`, in bodies too, read `to`. Graph outputs keep their names: see `isOutput` first. */
  renameUses(from: string, to: string): void {
    this.#renamedUses.set(from, to);
  }

  /** The edited graph: nodes in order, constants that nothing reads any more left out. */
  finish(): Graph {
    const rename = (value: string): string => {
      let name = value;
      for (let next = this.#renamedUses.get(name); next !== undefined; next = this.#renamedUses.get(name)) name = next;
      return name;
    };
    const nodes = this.graph.nodes.flatMap((node) => this.#replacements.get(node) ?? node).concat(this.#added);
    const renamed = this.#renamedUses.size > 0 ? nodes.map((node) => renameInputs(node, rename)) : nodes;
    const graph: Graph = {
      ...this.graph,
      nodes: topologicalOrder(renamed),
      initializers: this.#initializers,
      inputs: this.#inputs,
      // Exporters declare the types of constants too, which may have others now.
      valueInfo: this.graph.valueInfo.filter((info) => !contradicts(info, this.#initializers.get(info.name))),
    };
    return withoutUnreadConstants(graph, this.graph);
  }
}

function contradicts({ type }: ValueInfo, constant: Tensor | undefined): boolean {
  if (!constant || type.kind !== 'tensor') return false;
  return type.dtype !== constant.dtype || (type.shape !== undefined && type.shape.join() !== constant.dims.join());
}

/** The node reading other values, its bodies' captures included; the same node where nothing changed. */
export function renameInputs(node: Node, rename: (value: string) => string): Node {
  const inputs = node.inputs.map(rename);
  const changed = inputs.some((value, i) => value !== node.inputs[i]);
  const renamed = mapSubgraphs(node, (body) => renameCaptures(body, rename));
  return changed ? { ...renamed, inputs } : renamed;
}

function renameCaptures(body: Graph, rename: (value: string) => string): Graph {
  const captured = capturedValues(body);
  if (![...captured].some((value) => rename(value) !== value)) return body;
  const inner = (value: string) => (captured.has(value) ? rename(value) : value);
  return {
    ...body,
    nodes: body.nodes.map((node) => renameInputs(node, inner)),
    outputs: body.outputs.map((output) => (inner(output.name) === output.name ? output : { ...output, name: inner(output.name) })),
  };
}

/** Drops constants that were read before the edit (or are new) and that nothing reads now; defaults of inputs stay. */
function withoutUnreadConstants(graph: Graph, before: Graph): Graph {
  const now = indexOf(graph);
  const then = indexOf(before);
  const unread = [...graph.initializers.keys()].filter(
    (name) => !now.isRead(name) && !now.isInput(name) && (!before.initializers.has(name) || then.isRead(name)),
  );
  if (unread.length === 0) return graph;
  const initializers = new Map(graph.initializers);
  for (const name of unread) initializers.delete(name);
  return { ...graph, initializers };
}

/** Short text of a tensor's type, for messages: `float32[16,3,3,3]`. */
export function tensorTypeText(tensor: Tensor): string {
  return `${dtypeInfo(tensor.dtype).name}[${tensor.dims.join(',')}]`;
}
