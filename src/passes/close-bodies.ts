import { GraphEditor, renameInputs } from '../graph/graph-editor.js';
import { capturedValues, indexOf } from '../graph/graph-index.js';
import type { Attribute, Graph, Model, Node, OpenBodies } from '../graph/model.js';
import { Names } from '../graph/names.js';
import type { Tensor } from '../tensor/tensor.js';
import { bodyAttributes, isBodyInputs } from './open-bodies.js';

/** Constants up to this size are copied into each body that reads them. */
const MAX_COPIED_BYTES = 4096;

/** What is computed once outside a loop although only its body reads it: integers of what the loop does not change. */
const STAYS_OUTSIDE: ReadonlySet<string> = new Set(['QuantizeLinear', 'DynamicQuantizeLinear']);

/** A body of a node, by the attribute that holds it. */
interface Place {
  readonly node: Node;
  readonly body: string;
}

/**
 * Puts what stood in the bodies of an opened model, and what is needed only there, into these bodies, also what was added since it was opened: the
 * model can be run then, computes no branch that is not taken, and nothing in each round of a loop that stood outside. A model without opened bodies
 * comes back itself.
 */
export function closeBodies({ openBodies: open, ...model }: Model): Model {
  if (!open) return model;
  const closing = new Closing(open, model.graph);
  return { ...model, graph: closing.close(withOwnDequantize(model.graph, closing.names)) };
}

/** The same for looking into: values keep the names that they have in the opened model. */
export function closeAsNamed({ openBodies: open, ...model }: Model): Model {
  return open ? { ...model, graph: new Closing(open, model.graph, false).close(model.graph) } : model;
}

/** For each value of an opened model, the body that it stands in: equal texts are the same one, an inner one begins with the outer; '' for the graph itself. */
export function bodyNames(model: Model): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  const visit = (graph: Graph, name: string): void => {
    for (const input of graph.inputs) found.set(input.name, name);
    for (const node of graph.nodes) {
      for (const output of node.outputs) found.set(output, name);
      if (!model.openBodies?.opened.has(node.name)) continue;
      for (const attribute of bodyAttributes(node)) {
        const body = node.attributes.get(attribute);
        if (body?.kind === 'graph') visit(body.value, `${name}/${node.name}:${attribute}`);
      }
    }
  };
  if (model.openBodies) visit(closeAsNamed(model).graph, '');
  return found;
}

class Closing {
  readonly names: Names;
  readonly #open: OpenBodies;
  readonly #merges: boolean;

  constructor(open: OpenBodies, graph: Graph, merges = true) {
    this.#open = open;
    this.#merges = merges;
    this.names = new Names(graph);
  }

  /** Closes a graph, or the body of the Loop or Scan `around`. */
  close(graph: Graph, around = ''): Graph {
    const places = this.#placesOf(graph, around);
    const constants = placesOfConstants(graph, places);
    const nodes = graph.nodes.flatMap((node) => {
      if (places.has(node)) return [];
      return this.#isOpened(node) ? [this.#fill(node, graph, places, constants, around)] : [node];
    });
    const closed = { ...graph, nodes };
    const isKept = (name: string) => !constants.has(name) && (indexOf(closed).isRead(name) || !indexOf(graph).isRead(name));
    return { ...closed, initializers: new Map([...graph.initializers].filter(([name]) => isKept(name))) };
  }

  #isOpened(node: Node): boolean {
    return this.#open.opened.has(node.name);
  }

  /** A node with all that belongs to its bodies in them. */
  #fill(node: Node, graph: Graph, places: ReadonlyMap<Node, Place>, constants: ReadonlyMap<string, Place>, around: string): Node {
    const attributes = new Map(node.attributes);
    for (const attribute of bodyAttributes(node)) {
      const { value } = node.attributes.get(attribute) as Extract<Attribute, { kind: 'graph' }>;
      const isHere = (place: Place | undefined) => place?.node === node && place.body === attribute;
      const moved = graph.nodes.filter((each) => isHere(places.get(each)));
      const isStandIn = (each: Node) => isBodyInputs(each) && this.#open.homes.get(each.name) === node.name;
      const given = moved.find(isStandIn)?.outputs;
      const inputs = given ? value.inputs.map((input, i) => ({ ...input, name: given[i]! })) : value.inputs;
      const initializers = new Map<string, Tensor>([...value.initializers, ...[...graph.initializers].filter(([name]) => isHere(constants.get(name)))]);
      const opened = { ...value, inputs, nodes: [...moved.filter((each) => !isStandIn(each)), ...value.nodes], initializers };
      const body = this.close(this.#withOwnConstants(opened, graph.initializers), node.opType === 'If' ? around : node.name);
      attributes.set(attribute, { kind: 'graph', value: this.#merges ? withoutIdentities(body) : body });
    }
    return { ...node, attributes };
  }

  /** A body with copies of the small constants that it reads from around it: the runtime's rewriting of Q/DQ looks for scales and zero points in their own graph. */
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
    return { ...body, initializers, nodes: body.nodes.map((node) => renameInputs(node, rename)) };
  }

  /** The body for each node that belongs to a loop in the graph, or that only one body in it needs, itself or through other such nodes. */
  #placesOf(graph: Graph, around: string): Map<Node, Place> {
    const index = indexOf(graph);
    const isOpened = (node: Node) => this.#isOpened(node);
    const loops = this.#loopsOf(graph, around);
    const byName = new Map(graph.nodes.filter(isOpened).map((node) => [node.name, node]));
    const places = new Map<Node, Place>();
    for (const node of [...graph.nodes].reverse()) {
      const loop = byName.get(loops.get(node) ?? '');
      if (loop) {
        places.set(node, places.get(loop) ?? { node: loop, body: 'body' });
        continue;
      }
      const uses = node.outputs.flatMap((output) => (index.isOutput(output) ? [undefined] : index.uses(output).map((use) => placeOfUse(use, output, places, isOpened))));
      const place = samePlace(uses);
      if (place && (place.node.opType === 'If' || this.#sinks(node))) places.set(node, place);
    }
    return places;
  }

  /** Whether a node that only the body of a loop needs goes there: it was added since, and depends on nothing that would have it computed in each round. */
  #sinks(node: Node): boolean {
    return node.name !== '' && !this.#open.homes.has(node.name) && !STAYS_OUTSIDE.has(node.opType);
  }

  /** By node, the name of the outermost Loop or Scan in the graph that it is from, or on whose rounds it depends. */
  #loopsOf(graph: Graph, around: string): Map<Node, string> {
    const loops = new Map<Node, string>();
    const index = indexOf(graph);
    for (const node of graph.nodes) {
      const home = this.#open.homes.get(node.name);
      // What was added has no home: it is where that stands which it reads.
      const loop = home === undefined ? node.inputs.map((value) => loops.get(index.producer(value)!)).find(Boolean) : this.#outermost(home, around);
      if (loop) loops.set(node, loop);
    }
    return loops;
  }

  /** Of a loop and those that it is in, the outermost one inside `around`; undefined where that is the loop itself. */
  #outermost(loop: string, around: string): string | undefined {
    if (loop === '' || loop === around) return undefined;
    const next = this.#open.homes.get(loop) ?? '';
    return next === around ? loop : this.#outermost(next, around);
  }
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

/** The one body in which all uses are; undefined where there is none. */
function samePlace([first, ...others]: readonly (Place | undefined)[]): Place | undefined {
  return first && others.every((place) => place?.node === first.node && place.body === first.body) ? first : undefined;
}

function placeOfUse({ node, input }: { readonly node: Node; readonly input: number }, value: string, places: ReadonlyMap<Node, Place>, isOpened: (node: Node) => boolean): Place | undefined {
  const place = places.get(node);
  if (place || input >= 0 || !isOpened(node)) return place;
  const capturing = bodyAttributes(node).filter((body) => {
    const attribute = node.attributes.get(body);
    return attribute?.kind === 'graph' && capturedValues(attribute.value).has(value);
  });
  return capturing.length === 1 ? { node, body: capturing[0]! } : undefined;
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

/** A body whose outputs are made by the nodes that compute them, where nothing else reads what they were copied from. */
function withoutIdentities(body: Graph): Graph {
  const index = indexOf(body);
  const renamed = new Map<string, string>();
  const dropped = new Set<Node>();
  for (const { name } of body.outputs) {
    const copy = index.producer(name);
    const value = copy?.opType === 'Identity' && copy.domain === '' ? copy.inputs[0]! : '';
    if (!copy || !index.producer(value) || index.uses(value).length > 1 || index.isOutput(value) || index.uses(name).length > 0) continue;
    renamed.set(value, name);
    dropped.add(copy);
  }
  const rename = (value: string) => renamed.get(value) ?? value;
  const nodes = body.nodes.filter((node) => !dropped.has(node)).map((node) => (node.outputs.some((output) => renamed.has(output)) ? { ...node, outputs: node.outputs.map(rename) } : node));
  return { ...body, nodes };
}
