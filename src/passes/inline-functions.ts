import { QdqError } from '../errors.js';
import { mapSubgraphs, subgraphsOf } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import type { Attribute, Graph, Model, ModelFunction, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { passResult, type PassResult } from './pass.js';
import { raiseGraph } from './upgrade-opset.js';

/** Calls inside calls can double with each level; no exporter makes models as large as this. */
const MAX_NODES = 500_000;

/**
 * Puts the nodes of a model's own functions in the place of their calls, in bodies too, so that what computes inside them can be quantized.
 * Only functions are taken in which, or in one that they call, a node is `wanted`; where a function is written in an older operator set than
 * the model its nodes are raised to that. Functions that nothing calls afterwards are dropped. Throws QdqError('model-invalid') for functions
 * that call themselves.
 */
export function inlineFunctions(model: Model, wanted: (node: Node) => boolean): PassResult {
  if (model.functions.length === 0) return { model, changes: [] };
  const inliner = new Inliner(model, wanted);
  const graph = inliner.graph(model.graph, new Set());
  if (inliner.inlined.size === 0) return { model, changes: [] };
  const called = new Set(callsOf(graph.nodes, inliner.functions));
  // What a function that stays calls, stays too.
  for (const each of called) for (const inner of callsOf(each.nodes, inliner.functions)) called.add(inner);
  const functions = model.functions.filter((each) => called.has(each));
  const names = [...inliner.inlined].map(({ name }) => name);
  const message = `${inliner.calls} calls of ${names.length} functions of the model were replaced by what the functions do`;
  return passResult({ ...model, functions, opsets: inliner.opsets }, graph, [{ pass: 'inline-functions', names, message }]);
}

type Functions = ReadonlyMap<string, ModelFunction>;

const keyOf = (domain: string, name: string, overload = '') => `${domain}\0${name}\0${overload}`;

function calledBy(node: Node, functions: Functions): ModelFunction | undefined {
  return functions.get(keyOf(node.domain, node.opType, node.overload));
}

function* allOf(nodes: readonly Node[]): Generator<Node> {
  for (const node of nodes) {
    yield node;
    for (const body of subgraphsOf(node)) yield* allOf(body.nodes);
  }
}

function callsOf(nodes: readonly Node[], functions: Functions): ModelFunction[] {
  return [...allOf(nodes)].flatMap((node) => calledBy(node, functions) ?? []);
}

class Inliner {
  readonly functions: Functions;
  readonly inlined = new Set<ModelFunction>();
  /** The model's operator sets, and those that only functions named. */
  readonly opsets: Map<string, number>;
  calls = 0;
  readonly #wanted: (node: Node) => boolean;
  readonly #names: Names;
  readonly #isTaken = new Map<ModelFunction, boolean>();
  #nodes = 0;

  constructor(model: Model, wanted: (node: Node) => boolean) {
    this.functions = new Map(model.functions.map((each) => [keyOf(each.domain, each.name, each.overload), each]));
    this.opsets = new Map(model.opsets);
    this.#wanted = wanted;
    this.#names = new Names(model.graph);
  }

  /** The graph, or a body, with the calls in it replaced; the same graph where there are none. */
  graph(graph: Graph, open: ReadonlySet<ModelFunction>): Graph {
    const editor = new GraphEditor(graph, this.#names);
    let edited = false;
    for (const node of graph.nodes) {
      const nodes = this.#expand(node, open);
      if (nodes.length === 1 && nodes[0] === node) continue;
      editor.replace(node, ...nodes);
      edited = true;
    }
    return edited ? editor.finish() : graph;
  }

  /** What takes a node's place: itself where it calls nothing. `open` are the functions that are being put in. */
  #expand(node: Node, open: ReadonlySet<ModelFunction>): readonly Node[] {
    const called = calledBy(node, this.functions);
    if (!called || !this.#takes(called, new Set())) return [mapSubgraphs(node, (body) => this.graph(body, open))];
    if (open.has(called)) throw circular(called);
    this.#nodes += called.nodes.length;
    if (this.#nodes > MAX_NODES) {
      throw new QdqError('model-invalid', `the functions of the model come to more than ${MAX_NODES} nodes where they are called`, 'Functions that call each other may multiply; export the model without them.');
    }
    this.inlined.add(called);
    this.calls++;
    const inside = new Set(open).add(called);
    return this.#bodyOf(called, node).flatMap((inner) => this.#expand(inner, inside));
  }

  /** Whether a function is to be put in: something in it is wanted, and its operator sets agree with the model's. */
  #takes(called: ModelFunction, open: ReadonlySet<ModelFunction>): boolean {
    if (open.has(called)) throw circular(called);
    let taken = this.#isTaken.get(called);
    if (taken === undefined) {
      const inside = new Set(open).add(called);
      const nodes = [...allOf(called.nodes)];
      taken = this.#agrees(called) && nodes.some((node) => {
        const inner = calledBy(node, this.functions);
        return inner ? this.#takes(inner, inside) : this.#wanted(node);
      });
      this.#isTaken.set(called, taken);
    }
    return taken;
  }

  #agrees({ opsets, nodes }: ModelFunction): boolean {
    if ([...allOf(nodes)].some((node) => subgraphsOf(node).some((body) => body.sparseInitializers.length > 0))) return false;
    return [...opsets].every(([domain, version]) => {
      const own = this.opsets.get(domain);
      return own === undefined || own === version || (domain === '' && version < own);
    });
  }

  /** The nodes of a function, in the names and with the attributes of one call. */
  #bodyOf(called: ModelFunction, call: Node): readonly Node[] {
    const label = call.name || call.outputs.find(Boolean) || call.opType;
    const values = new Map<string, string>(called.inputs.map((name, i) => [name, call.inputs[i] ?? '']));
    const passedOn: Node[] = [];
    const made = new Set(called.nodes.flatMap((node) => node.outputs));
    called.outputs.forEach((name, i) => {
      const output = call.outputs[i];
      if (!output) return;
      if (made.has(name) && !values.has(name)) {
        values.set(name, output);
        return;
      }
      passedOn.push(createNode({ name: this.#names.unique(`${label}_${name}`), opType: 'Identity', inputs: [name], outputs: [output] }));
    });
    const rename = (value: string): string => {
      if (value === '') return '';
      let name = values.get(value);
      if (name === undefined) values.set(value, (name = this.#names.unique(`${label}_${value}`)));
      return name;
    };
    const attribute = (name: string) => call.attributes.get(name) ?? called.defaults.get(name);
    const nodes = called.nodes.map((node) => this.#adopted(node, label, rename, attribute));
    // Their input is a name of the function's, their output one of the call's already.
    const all = [...nodes, ...passedOn.map((node) => ({ ...node, inputs: node.inputs.map(rename) }))];
    for (const [domain, version] of called.opsets) if (!this.opsets.has(domain)) this.opsets.set(domain, version);
    const [from, to] = [called.opsets.get('') ?? this.opsets.get('')!, this.opsets.get('')!];
    return from < to ? this.#raised(all, from, to) : all;
  }

  #adopted(node: Node, label: string, rename: (value: string) => string, attribute: (name: string) => Attribute | undefined): Node {
    const attributes = new Map<string, Attribute>();
    for (const [name, value] of node.attributes) {
      const resolved = value.kind === 'reference' ? attribute(value.value) : value;
      if (resolved) attributes.set(name, resolved);
    }
    const adopted: Node = {
      ...node,
      name: this.#names.unique(`${label}_${node.name || node.opType}`),
      inputs: node.inputs.map(rename),
      outputs: node.outputs.map(rename),
      attributes,
    };
    return mapSubgraphs(adopted, (body) => this.#adoptedBody(body, label, rename, attribute));
  }

  #adoptedBody(body: Graph, label: string, rename: (value: string) => string, attribute: (name: string) => Attribute | undefined): Graph {
    const renamed = <V extends { readonly name: string }>(values: readonly V[]) => values.map((value) => ({ ...value, name: rename(value.name) }));
    return {
      ...body,
      nodes: body.nodes.map((node) => this.#adopted(node, label, rename, attribute)),
      initializers: new Map([...body.initializers].map(([name, tensor]) => [rename(name), tensor])),
      inputs: renamed(body.inputs),
      outputs: renamed(body.outputs),
      valueInfo: renamed(body.valueInfo),
    };
  }

  #raised(nodes: readonly Node[], from: number, to: number): readonly Node[] {
    const graph: Graph = { name: '', nodes, initializers: new Map(), sparseInitializers: [], inputs: [], outputs: [], valueInfo: [] };
    const { nodes: raised, initializers } = raiseGraph(graph, from, to, this.#names).graph;
    const constants = [...initializers].map(([name, value]) =>
      createNode({ name: this.#names.unique(name), opType: 'Constant', inputs: [], outputs: [name], attributes: { value: { kind: 'tensor', value } } }),
    );
    return [...constants, ...raised];
  }
}

function circular({ domain, name }: ModelFunction): QdqError {
  return new QdqError('model-invalid', `the function ${domain}.${name} of the model calls itself`, 'ONNX functions must not; export the model again.');
}
