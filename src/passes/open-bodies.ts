import { intAttribute, subgraphsOf } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import type { Attribute, Graph, Model, Node, ValueInfo } from '../graph/model.js';
import { allNodes } from '../graph/traversal.js';
import { moveOut, movableBranch, NamesAround } from './take-branches.js';

/** The attributes that hold bodies which can stand in the graph around them, by operator. */
const BODIES: Readonly<Record<string, readonly string[]>> = { If: ['then_branch', 'else_branch'], Loop: ['body'], Scan: ['body'] };

/** The operators whose bodies can be opened. */
export type BodyOperator = 'If' | 'Loop' | 'Scan';

/** Loops stay closed below this operator set: QuantizeLinear came with it, and IsInf, which observes values. Since the one before it a Scan takes no lengths. */
const LOOP_OPSET = 10;

/** What stands for the inputs of a body whose nodes stand in the graph around it: a node that makes them of nothing, and that nobody runs. */
const STAND_IN = { opType: 'BodyInputs', domain: 'qdq.open' } as const;

/** The attributes of a node that hold bodies which can stand around it. */
export function bodyAttributes({ opType, domain }: Node): readonly string[] {
  return (domain === '' && BODIES[opType]) || [];
}

/** Whether a node of an opened model is no operator, but stands for the inputs of a body. */
export function isBodyInputs({ opType, domain }: Node): boolean {
  return opType === STAND_IN.opType && domain === STAND_IN.domain;
}

/**
 * Lets what stands in the bodies of If, Loop and Scan stand in the graph around them, so that it can be planned for as the rest is; the bodies only
 * hand on values of that graph. Such a model is not to be run, but to be put back with `closeBodies`. Only bodies in which a node is worth that are
 * opened, and those around them. The model itself where there are none. What a Loop or Scan gives its body is made by a node of no operator.
 */
export function openBodies(model: Model, isWorth: (node: Node) => boolean, operators: readonly BodyOperator[] = ['If', 'Loop', 'Scan']): Model {
  const opening = new Opening(model, operators);
  let { graph } = model;
  // What was inside the body of another one is seen in the next round.
  for (let found = opening.openable(graph, isWorth); found.length > 0; found = opening.openable(graph, isWorth)) {
    graph = opening.open(graph, found);
  }
  const { opened, homes } = opening;
  return opened.size > 0 ? { ...model, graph, openBodies: { opened, homes } } : model;
}

/** An opened model as the runtime can tell types of: what stands for the inputs of bodies are inputs of the graph, or what they begin with. */
export function flatModel({ openBodies: open, ...model }: Model): Model {
  if (!open) return model;
  const byName = new Map(model.graph.nodes.map((node) => [node.name, node]));
  const inputs: ValueInfo[] = [];
  const nodes = model.graph.nodes.flatMap((node): Node[] => {
    if (!isBodyInputs(node)) return [node];
    const loop = byName.get(open.homes.get(node.name)!)!;
    const types = bodyOf(loop)!.inputs.map((_, i) => inputType(loop, i));
    return node.outputs.flatMap((name, i) => {
      const type = types[i]!;
      if (type.kind !== 'tensor') return [createNode({ name: '', opType: 'Identity', inputs: [loop.inputs[i]!], outputs: [name] })];
      inputs.push({ name, type });
      return [];
    });
  });
  return { ...model, graph: { ...model.graph, nodes, inputs: [...model.graph.inputs, ...inputs] } };
}

class Opening {
  readonly opened = new Set<string>();
  /** By name of a node, the name of the Loop or Scan that it is from; '' for the graph itself. */
  readonly homes: Map<string, string>;
  readonly #operators: readonly string[];
  readonly #opset: number;

  constructor(model: Model, operators: readonly BodyOperator[]) {
    this.#operators = operators;
    this.#opset = model.opsets.get('') ?? 1;
    this.homes = new Map(model.graph.nodes.flatMap(({ name }) => (name ? [[name, ''] as const] : [])));
  }

  openable(graph: Graph, isWorth: (node: Node) => boolean): Node[] {
    return graph.nodes.filter((node) => {
      if (!this.#operators.includes(node.opType) || node.domain !== '' || this.opened.has(node.name)) return false;
      return this.#isMovable(node) && subgraphsOf(node).some((body) => [...allNodes(body)].some(isWorth));
    });
  }

  open(graph: Graph, found: readonly Node[]): Graph {
    const bodiless = (node: Node): Node => (found.includes(node) ? { ...node, attributes: new Map() } : node);
    const names = new NamesAround(graph, graph.nodes.map(bodiless));
    const editor = new GraphEditor(graph);
    for (const node of found) {
      const name = node.name && !this.opened.has(node.name) ? node.name : names.unique(node.name || nameFor(node));
      const home = this.homes.get(node.name) ?? '';
      this.opened.add(name);
      this.homes.set(name, home);
      const attributes = new Map(node.attributes);
      const moved = bodyAttributes(node).flatMap((attribute) => {
        const body = attributes.get(attribute) as Extract<Attribute, { kind: 'graph' }>;
        const taken = body.value.inputs.map((input) => [input.name, names.unique(input.name)] as const);
        const { nodes, initializers, rename } = moveOut(body.value, names, new Map(taken));
        for (const [constant, tensor] of initializers) editor.setInitializer(constant, tensor);
        attributes.set(attribute, { kind: 'graph', value: handingOn(body.value, rename, names) } satisfies Attribute);
        if (node.opType === 'If') return this.#atHome(nodes, home, names);
        const standIn = createNode({ name: names.unique(`${name}_inputs`), ...STAND_IN, inputs: [], outputs: taken.map(([, value]) => value) });
        return this.#atHome([standIn, ...nodes], name, names);
      });
      editor.replace(node, ...moved, { ...node, name, attributes });
    }
    return editor.finish();
  }

  /** Nodes must be known again, and so have names. */
  #atHome(nodes: readonly Node[], home: string, names: NamesAround): Node[] {
    return nodes.map((node) => {
      const name = node.name || names.unique(nameFor(node));
      this.homes.set(name, home);
      return name === node.name ? node : { ...node, name };
    });
  }

  #isMovable(node: Node): boolean {
    if (node.opType === 'If') return bodyAttributes(node).every((name) => movableBranch(node, name as 'then_branch'));
    const body = bodyOf(node);
    if (this.#opset < LOOP_OPSET || !body || body.sparseInitializers.length > 0 || body.inputs.some(({ name }) => body.initializers.has(name))) return false;
    if (body.inputs.some((_, i) => inputType(node, i).kind === 'none')) return false;
    if (node.opType === 'Scan') return node.inputs.length === body.inputs.length && statesOf(node, body) >= 0;
    return body.inputs.length >= 2 && node.inputs.length === body.inputs.length && node.inputs.slice(2).every(Boolean) && node.outputs.length < body.outputs.length;
  }
}

/** What a node without a name is called, if nothing else is. */
const nameFor = ({ opType, outputs }: Node) => `${opType}_${outputs.find(Boolean) ?? ''}`;

/** The body of a Loop or Scan. */
export function bodyOf(node: Node): Graph | undefined {
  const body = node.attributes.get('body');
  return body?.kind === 'graph' ? body.value : undefined;
}

/** How many values a Loop or Scan carries from one round to the next. */
export function statesOf(node: Node, body: Graph): number {
  return node.opType === 'Scan' ? body.inputs.length - intAttribute(node, 'num_scan_inputs', 0) : body.inputs.length - 2;
}

/** Declared type of what a Loop or Scan gives its body. The number of the round and the condition have theirs. */
function inputType(node: Node, i: number): ValueInfo['type'] {
  if (node.opType === 'Loop' && i < 2) return { kind: 'tensor', dtype: i === 0 ? 'int64' : 'bool', shape: [] };
  return bodyOf(node)!.inputs[i]!.type;
}

/** A body that gives values of the graph around it. */
function handingOn(body: Graph, rename: (name: string) => string, names: NamesAround): Graph {
  const inputs = body.inputs.map((input) => ({ ...input, name: names.unique(`${input.name}_taken`) }));
  const outputs = body.outputs.map((output) => ({ ...output, name: names.unique(`${output.name}_given`) }));
  const nodes = body.outputs.map(({ name }, i) => {
    const given = outputs[i]!.name;
    return createNode({ name: names.unique(given), opType: 'Identity', inputs: [rename(name)], outputs: [given] });
  });
  return { name: body.name, nodes, initializers: new Map(), sparseInitializers: [], inputs, outputs, valueInfo: [] };
}
