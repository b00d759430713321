import { createNode, GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { capturedValues, indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Model, Node, ValueInfo } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { BRANCHES } from './open-branches.js';

/** Constants up to this size are copied into each branch that reads them. */
const MAX_COPIED_BYTES = 4096;

type Branch = (typeof BRANCHES)[number];

/** A branch of an If. */
interface Place {
  readonly node: Node;
  readonly branch: Branch;
}

/**
 * Puts what only one branch of an opened If needs into that branch, also what was added since it was opened: the model can be run then, and computes
 * no branch that is not taken. A model without opened branches comes back itself.
 */
export function closeBranches(model: Model): Model {
  return tapBranches(model, new Set()).model;
}

/**
 * The same, with values of branches handed out: each is an output of its If, under its own name, and one without elements where another branch is
 * taken. `handedOut` are those of `values` for which that was needed. All of them must be float32.
 */
export function tapBranches({ openBranches: opened, ...model }: Model, values: ReadonlySet<string>): { readonly model: Model; readonly handedOut: ReadonlySet<string> } {
  if (!opened) return { model, handedOut: new Set() };
  const closing = new Closing(opened, values, model.graph);
  const graph = closing.close(withOwnDequantize(model.graph, closing.names));
  return { model: { ...model, graph }, handedOut: closing.handedOut };
}

/** For each value that a node of an opened model makes, the branch that it stands in: equal texts are the same one; '' for the graph itself. */
export function branchNames(model: Model): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (graph: Graph, name: string): void => {
    for (const node of graph.nodes) {
      for (const output of node.outputs) found.set(output, name);
      if (!model.openBranches?.has(node.name)) continue;
      for (const branch of BRANCHES) {
        const body = node.attributes.get(branch);
        if (body?.kind === 'graph') visit(body.value, `${name}/${node.name}:${branch}`);
      }
    }
  };
  const { openBranches: opened, ...rest } = model;
  if (opened) visit(new Closing(opened, new Set(), rest.graph, false).close(rest.graph), '');
  return found;
}

class Closing {
  readonly names: Names;
  readonly handedOut = new Set<string>();
  readonly #opened: ReadonlySet<string>;
  readonly #values: ReadonlySet<string>;
  readonly #merges: boolean;

  constructor(opened: ReadonlySet<string>, values: ReadonlySet<string>, graph: Graph, merges = true) {
    this.#opened = opened;
    this.#values = values;
    this.#merges = merges;
    this.names = new Names(graph);
  }

  close(graph: Graph): Graph {
    const places = placesOf(graph, (node) => this.#opened.has(node.name));
    const constants = placesOfConstants(graph, places);
    const nodes = graph.nodes.flatMap((node) => {
      if (places.has(node)) return [];
      return this.#opened.has(node.name) ? [this.#fill(node, graph, places, constants)] : [node];
    });
    const closed = { ...graph, nodes };
    const isKept = (name: string) => !constants.has(name) && (indexOf(closed).isRead(name) || !indexOf(graph).isRead(name));
    return { ...closed, initializers: new Map([...graph.initializers].filter(([name]) => isKept(name))) };
  }

  /** An If with all that belongs to its branches in them. */
  #fill(node: Node, graph: Graph, places: ReadonlyMap<Node, Place>, constants: ReadonlyMap<string, Place>): Node {
    const handedOut = new Map<Branch, readonly string[]>();
    const bodies = BRANCHES.map((branch): readonly [Branch, Graph] => {
      const { value } = node.attributes.get(branch) as Extract<Attribute, { kind: 'graph' }>;
      const isHere = (place: Place | undefined) => place?.node === node && place.branch === branch;
      const moved = graph.nodes.filter((each) => isHere(places.get(each)));
      const initializers = new Map<string, Tensor>([...value.initializers, ...[...graph.initializers].filter(([name]) => isHere(constants.get(name)))]);
      const body = this.close(this.#withOwnConstants({ ...value, nodes: [...moved, ...value.nodes], initializers }, graph.initializers));
      const given = body.nodes.flatMap(({ outputs }) => outputs.filter((output) => this.#values.has(output)));
      handedOut.set(branch, given);
      return [branch, this.#merges ? withoutIdentities(body, this.#values) : body];
    });
    const outputs = [...handedOut.values()].flat();
    const attributes = new Map(node.attributes);
    for (const [branch, body] of bodies) attributes.set(branch, { kind: 'graph', value: outputs.length > 0 ? this.#handOut(body, handedOut.get(branch)!, outputs) : body });
    for (const value of outputs) this.handedOut.add(value);
    return { ...node, attributes, outputs: [...node.outputs, ...outputs] };
  }

  /** A branch with copies of the small constants that it reads from around it: the runtime's rewriting of Q/DQ looks for scales and zero points in their own graph. */
  #withOwnConstants(body: Graph, around: Graph['initializers']): Graph {
    if (!this.#merges) return body;
    const copied = new Map<string, string>();
    const initializers = new Map(body.initializers);
    for (const name of capturedValues(body)) {
      const tensor = around.get(name);
      if (!tensor || tensor.storage.byteLength > MAX_COPIED_BYTES) continue;
      const copy = this.names.unique(name);
      copied.set(name, copy);
      initializers.set(copy, tensor);
    }
    if (copied.size === 0) return body;
    const rename = (name: string) => copied.get(name) ?? name;
    return { ...body, initializers, nodes: body.nodes.map((node) => renameInputs(node, rename)), outputs: body.outputs };
  }

  /** A branch with further outputs: those of its own values, and nothing for those of the other branch. */
  #handOut(body: Graph, own: readonly string[], all: readonly string[]): Graph {
    const inside = new Map(own.map((value) => [value, this.names.unique(`${value}_inside`)] as const));
    const rename = (value: string) => inside.get(value) ?? value;
    const nodes = body.nodes.map((node): Node => ({ ...renameInputs(node, rename), outputs: node.outputs.map(rename) }));
    const initializers = new Map(body.initializers);
    const outputs = all.map((value): ValueInfo => {
      const name = inside.get(value) ?? this.names.unique(`${value}_untaken`);
      if (inside.has(value)) return { name, type: { kind: 'none' } };
      const empty = this.names.unique(`${value}_empty`);
      initializers.set(empty, tensorFromArray('float32', [0], new Float32Array(0)));
      nodes.push(createNode({ name: this.names.unique(name), opType: 'Identity', inputs: [empty], outputs: [name] }));
      return { name, type: { kind: 'none' } };
    });
    return { ...body, nodes, initializers, outputs: [...body.outputs.map((output) => ({ ...output, name: rename(output.name) })), ...outputs] };
  }
}

/** The branch for each node that only one branch of an If in the same graph needs, itself or through other such nodes. */
function placesOf(graph: Graph, isOpened: (node: Node) => boolean): Map<Node, Place> {
  const index = indexOf(graph);
  const places = new Map<Node, Place>();
  for (const node of [...graph.nodes].reverse()) {
    const uses = node.outputs.flatMap((output) => (index.isOutput(output) ? [undefined] : index.uses(output).map((use) => placeOfUse(use, output, places, isOpened))));
    const place = samePlace(uses);
    if (place) places.set(node, place);
  }
  return places;
}

function placesOfConstants(graph: Graph, places: ReadonlyMap<Node, Place>): Map<string, Place> {
  const index = indexOf(graph);
  const found = new Map<string, Place>();
  for (const name of graph.initializers.keys()) {
    const uses = index.isOutput(name) || index.isInput(name) ? [] : index.uses(name).map((use) => places.get(use.node));
    const place = samePlace(uses);
    if (place) found.set(name, place);
  }
  return found;
}

/** The one branch in which all uses are; undefined where there is none. */
function samePlace([first, ...others]: readonly (Place | undefined)[]): Place | undefined {
  return first && others.every((place) => place?.node === first.node && place.branch === first.branch) ? first : undefined;
}

function placeOfUse({ node, input }: { readonly node: Node; readonly input: number }, value: string, places: ReadonlyMap<Node, Place>, isOpened: (node: Node) => boolean): Place | undefined {
  const place = places.get(node);
  if (place || input >= 0 || !isOpened(node)) return place;
  const capturing = BRANCHES.filter((branch) => {
    const attribute = node.attributes.get(branch);
    return attribute?.kind === 'graph' && capturedValues(attribute.value).has(value);
  });
  return capturing.length === 1 ? { node, branch: capturing[0]! } : undefined;
}

/** One DequantizeLinear for each node that reads it: integer kernels take only what stands in their own graph. */
function withOwnDequantize(graph: Graph, names: Names): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph, names);
  const renamed = new Map<Node, Map<string, string>>();
  for (const node of graph.nodes) {
    const [output = ''] = node.outputs;
    if (node.opType !== 'DequantizeLinear' || index.isOutput(output)) continue;
    const [, ...others] = new Set(index.uses(output).map((use) => use.node));
    for (const reader of others) {
      const copy = names.unique(output);
      editor.add({ ...node, name: names.unique(node.name), outputs: [copy] });
      renamed.set(reader, (renamed.get(reader) ?? new Map<string, string>()).set(output, copy));
    }
  }
  for (const [reader, values] of renamed) editor.replace(reader, renameInputs(reader, (value) => values.get(value) ?? value));
  return renamed.size > 0 ? editor.finish() : graph;
}

/** A branch whose outputs are made by the nodes that compute them, where nothing else reads what they were copied from. */
function withoutIdentities(body: Graph, kept: ReadonlySet<string>): Graph {
  const index = indexOf(body);
  const renamed = new Map<string, string>();
  const dropped = new Set<Node>();
  for (const { name } of body.outputs) {
    const copy = index.producer(name);
    const value = copy?.opType === 'Identity' && copy.domain === '' ? copy.inputs[0]! : '';
    if (!copy || !index.producer(value) || kept.has(value) || index.uses(value).length > 1 || index.isOutput(value) || index.uses(name).length > 0) continue;
    renamed.set(value, name);
    dropped.add(copy);
  }
  const rename = (value: string) => renamed.get(value) ?? value;
  const nodes = body.nodes.filter((node) => !dropped.has(node)).map((node) => (node.outputs.some((output) => renamed.has(output)) ? { ...node, outputs: node.outputs.map(rename) } : node));
  return { ...body, nodes };
}
