import { createNode, renameInputs } from '../graph/graph-editor.js';
import type { Attribute, Graph, Model, Node, ValueInfo } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { closeAsNamed } from '../passes/close-bodies.js';
import { bodyAttributes, bodyOf, statesOf } from '../passes/open-bodies.js';
import { int64Tensor, tensorFromArray, type Tensor } from '../tensor/tensor.js';
import { LoopObserver, ROW_LENGTH, ROWS, type LoopState } from './loop-observer.js';

/** A model that hands values out of bodies, and which these are. */
export interface TappedBodies {
  readonly model: Model;
  /** Values of branches: outputs of their If under their own names, without elements where another branch is taken. */
  readonly handedOut: ReadonlySet<string>;
  /** Values of loops: what their rounds together tell of them, without elements where a branch is not taken that the loop is in. */
  readonly looped: ReadonlyMap<string, LoopState>;
}

/** The model with its bodies closed and some of their values, all of them float32, handed out. */
export function tapBodies(opened: Model, values: ReadonlySet<string>): TappedBodies {
  if (!opened.openBodies) return { model: opened, handedOut: new Set(), looped: new Map() };
  const closed = closeAsNamed(opened);
  const tap = new BodyTap(new Names(closed.graph), values);
  const { graph, given } = tap.outside(closed.graph);
  const model = { ...closed, graph: { ...graph, initializers: new Map([...graph.initializers, ...tap.observer.constants]) } };
  return { model, handedOut: new Set(given.filter(({ state }) => !state).map(({ value }) => value)), looped: new Map(given.flatMap(({ value, state }) => (state ? [[value, state] as const] : []))) };
}

/** A value that a graph hands out of the bodies in it, by its own name or, where they are loops, by what they carry along. */
interface Given {
  readonly value: string;
  readonly state: LoopState | undefined;
}

type States = ReadonlyMap<string, LoopState>;

const PARTS = ['rows', 'extremes', 'counts'] as const;

const TYPES: Readonly<Record<keyof LoopState, ValueInfo['type']>> = {
  rows: { kind: 'tensor', dtype: 'float32', shape: [ROWS, ROW_LENGTH] },
  extremes: { kind: 'tensor', dtype: 'float32', shape: [2] },
  counts: { kind: 'tensor', dtype: 'int64', shape: [4] },
};

class BodyTap {
  readonly observer: LoopObserver;
  readonly #names: Names;
  readonly #values: ReadonlySet<string>;

  constructor(names: Names, values: ReadonlySet<string>) {
    this.#names = names;
    this.#values = values;
    this.observer = new LoopObserver(names);
  }

  /** A graph that is in no loop. */
  outside(graph: Graph): { readonly graph: Graph; readonly given: readonly Given[] } {
    const given: Given[] = [];
    const nodes = graph.nodes.map((node) => {
      const inside = this.#valuesIn(node);
      if (inside.length === 0) return node;
      const tapped = node.opType === 'If' ? this.#branches(node) : this.#loop(node, inside, new Map());
      given.push(...tapped.given);
      return tapped.node;
    });
    return { graph: { ...graph, nodes }, given };
  }

  /** An If that is in no loop. What a branch does not make has no elements when it is taken. */
  #branches(node: Node): { readonly node: Node; readonly given: readonly Given[] } {
    const branches = bodyAttributes(node).map((attribute) => {
      const { value } = node.attributes.get(attribute) as Extract<Attribute, { kind: 'graph' }>;
      const { graph, given } = this.outside(value);
      const own = value.nodes.flatMap(({ outputs }) => outputs.filter((output) => this.#values.has(output)));
      return { attribute, graph, given: [...own.map((name): Given => ({ value: name, state: undefined })), ...given] };
    });
    const given = branches.flatMap((branch) => branch.given);
    const attributes = new Map(node.attributes);
    for (const branch of branches) attributes.set(branch.attribute, { kind: 'graph', value: this.#handOut(branch.graph, branch.given.flatMap(namesOf), given) });
    return { node: { ...node, attributes, outputs: [...node.outputs, ...given.flatMap(namesOf)] }, given };
  }

  /** A branch with further outputs: those of its own values, and nothing for those of the other branch. */
  #handOut(body: Graph, own: readonly string[], all: readonly Given[]): Graph {
    const inside = new Map(own.map((value) => [value, this.#names.unique(`${value}_inside`)] as const));
    const rename = (value: string) => inside.get(value) ?? value;
    const nodes = body.nodes.map((node): Node => ({ ...renameInputs(node, rename), outputs: node.outputs.map(rename) }));
    const initializers = new Map(body.initializers);
    const outputs = all.flatMap(outputsOf).map(({ name: value, empty: nothing }): ValueInfo => {
      const name = inside.get(value) ?? this.#names.unique(`${value}_untaken`);
      if (inside.has(value)) return { name, type: { kind: 'none' } };
      const empty = this.#names.unique(`${value}_empty`);
      initializers.set(empty, nothing);
      nodes.push(createNode({ name: this.#names.unique(name), opType: 'Identity', inputs: [empty], outputs: [name] }));
      return { name, type: { kind: 'none' } };
    });
    return { ...body, nodes, initializers, outputs: [...body.outputs.map((output) => ({ ...output, name: rename(output.name) })), ...outputs] };
  }

  /** A Loop or Scan that carries along what is observed of the values in it, from `states` on or from nothing. */
  #loop(node: Node, inside: readonly string[], states: States): { readonly node: Node; readonly given: readonly Given[] } {
    const body = bodyOf(node)!;
    const count = statesOf(node, body);
    const [before, taken, after] = [new Map<string, LoopState>(), new Map<string, LoopState>(), new Map<string, LoopState>()];
    for (const value of inside) {
      before.set(value, states.get(value) ?? this.observer.start);
      taken.set(value, this.#newState(value));
      after.set(value, this.#newState(value));
    }
    const observed = this.#inLoop(body, taken);
    const parts = (from: States) => inside.flatMap((value) => namesOf({ value, state: from.get(value) }));
    const declared = (from: States) => inside.flatMap((value) => PARTS.map((part): ValueInfo => ({ name: from.get(value)![part], type: TYPES[part] })));
    // A Loop takes the number of rounds and a condition first, and its body gives the condition first.
    const [leading, condition] = node.opType === 'Loop' ? [2, 1] : [0, 0];
    const inputs = insert(node.inputs, leading + count, parts(before), '');
    const graph: Graph = {
      ...observed.graph,
      inputs: insert(body.inputs, leading + count, declared(taken)),
      outputs: insert(body.outputs, condition + count, declared(observed.states)),
    };
    const attributes = new Map(node.attributes).set('body', { kind: 'graph', value: graph });
    return { node: { ...node, inputs, outputs: insert(node.outputs, count, parts(after), ''), attributes }, given: inside.map((value) => ({ value, state: after.get(value)! })) };
  }

  /** A graph in a loop, where what is observed so far goes from one node to the next. */
  #inLoop(graph: Graph, given: States): { readonly graph: Graph; readonly states: States } {
    const states = new Map(given);
    const nodes: Node[] = [];
    const observe = (values: readonly string[]): void => {
      for (const value of values.filter((each) => this.#values.has(each))) {
        const taken = this.observer.take(value, states.get(value)!);
        nodes.push(...taken.nodes);
        states.set(value, taken.state);
      }
    };
    observe(graph.inputs.map(({ name }) => name));
    for (const node of graph.nodes) {
      const inside = this.#valuesIn(node);
      if (inside.length === 0) {
        nodes.push(node);
      } else {
        const tapped = node.opType === 'If' ? this.#branchesInLoop(node, inside, states) : this.#loop(node, inside, states);
        nodes.push(tapped.node);
        for (const { value, state } of tapped.given) states.set(value, state!);
      }
      observe(node.outputs);
    }
    return { graph: { ...graph, nodes }, states };
  }

  /** An If in a loop: what the branch that is taken does not make is handed on as it was. */
  #branchesInLoop(node: Node, inside: readonly string[], states: States): { readonly node: Node; readonly given: readonly Given[] } {
    const attributes = new Map(node.attributes);
    for (const attribute of bodyAttributes(node)) {
      const { value: branch } = node.attributes.get(attribute) as Extract<Attribute, { kind: 'graph' }>;
      const observed = this.#inLoop(branch, states);
      const outputs = inside.flatMap((value) => namesOf({ value, state: observed.states.get(value) })).map((input) => ({ input, output: this.#names.unique(`${input}_on`) }));
      const copies = outputs.map(({ input, output }) => createNode({ name: this.#names.unique(output), opType: 'Identity', inputs: [input], outputs: [output] }));
      const more = outputs.map(({ output }): ValueInfo => ({ name: output, type: { kind: 'none' } }));
      attributes.set(attribute, { kind: 'graph', value: { ...observed.graph, nodes: [...observed.graph.nodes, ...copies], outputs: [...branch.outputs, ...more] } });
    }
    const given = inside.map((value): Given => ({ value, state: this.#newState(value) }));
    return { node: { ...node, attributes, outputs: [...node.outputs, ...given.flatMap(namesOf)] }, given };
  }

  #newState(value: string): LoopState {
    const name = (part: keyof LoopState) => this.#names.unique(`${value}_${part}`);
    return { rows: name('rows'), extremes: name('extremes'), counts: name('counts') };
  }

  /** The wanted values that the bodies of a node make, or that it gives them. */
  #valuesIn(node: Node): string[] {
    return bodyAttributes(node).flatMap((attribute) => {
      const body = node.attributes.get(attribute);
      if (body?.kind !== 'graph') return [];
      const own = [...body.value.inputs.map(({ name }) => name), ...body.value.nodes.flatMap(({ outputs }) => outputs)].filter((value) => this.#values.has(value));
      return [...own, ...body.value.nodes.flatMap((each) => this.#valuesIn(each))];
    });
  }
}

const EMPTY = tensorFromArray('float32', [0], new Float32Array(0));

/** The values that tell of one, each with what is without elements and of its type. */
function outputsOf({ value, state }: Given): { readonly name: string; readonly empty: Tensor }[] {
  return state ? PARTS.map((part) => ({ name: state[part], empty: part === 'counts' ? int64Tensor([]) : EMPTY })) : [{ name: value, empty: EMPTY }];
}

function namesOf(given: Given): string[] {
  return outputsOf(given).map(({ name }) => name);
}

/** A list with more items from an index on; what was left out before it is filled. */
function insert<Item>(list: readonly Item[], at: number, items: readonly Item[], filler?: Item): Item[] {
  const before = list.slice(0, at);
  while (filler !== undefined && before.length < at) before.push(filler);
  return [...before, ...items, ...list.slice(at)];
}
