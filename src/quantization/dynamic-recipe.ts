import { intAttribute, mapSubgraphs } from '../graph/attributes.js';
import { GraphEditor } from '../graph/graph-editor.js';
import { indexOf } from '../graph/graph-index.js';
import type { Graph, Model, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { DynamicForms, type StoredWeight } from './dynamic-forms.js';
import { storeDynamicWeight } from './dynamic-weights.js';
import type { Tensor } from '../tensor/tensor.js';
import type { PlannedConstant, PlannedNode, QuantizationPlan } from './plan.js';
import { constantIn, type Scope } from './scopes.js';

const CONTRIB = 'com.microsoft';

/** Carries a dynamic plan out on the model that it was made for, bodies included. */
export function applyDynamicPlan(model: Model, plan: QuantizationPlan): Model {
  const graph = new DynamicRecipe(model.graph, plan).apply();
  const isContrib = ({ decision, kernel }: PlannedNode) => kernel === 'DynamicQuantizeLSTM' || (decision === 'weights-only' && plan.domain !== '');
  const opsets = plan.nodes.some(isContrib) ? new Map(model.opsets).set(CONTRIB, model.opsets.get(CONTRIB) ?? 1) : model.opsets;
  return { ...model, graph, opsets };
}

/** An editor for a graph, with what has been put into it. */
interface EditedScope extends Scope {
  readonly editor: GraphEditor;
  readonly parent: EditedScope | undefined;
  readonly forms: DynamicForms;
  readonly stored: Map<string, StoredWeight>;
  /** Constant nodes whose tensors were stored as integers. */
  readonly storedNodes: Set<Node>;
}

class DynamicRecipe {
  readonly #graph: Graph;
  readonly #plan: QuantizationPlan;
  /** Of the whole model: a value of a body must not hide one of the graph around it. */
  readonly #names: Names;
  #at = 0;

  constructor(graph: Graph, plan: QuantizationPlan) {
    this.#graph = graph;
    this.#plan = plan;
    this.#names = new Names(graph);
  }

  apply(): Graph {
    return this.#editGraph(this.#graph, undefined);
  }

  #editGraph(graph: Graph, parent: EditedScope | undefined): Graph {
    const editor = new GraphEditor(graph);
    const forms = new DynamicForms(editor, this.#names);
    const scope: EditedScope = { graph, parent, editor, forms, stored: new Map(), storedNodes: new Set() };
    for (const node of graph.nodes) {
      const planned = this.#plan.nodes[this.#at++]!;
      const inside = mapSubgraphs(node, (body) => this.#editGraph(body, scope));
      if (planned.constants) editor.replace(node, ...this.#quantize(scope, node, planned));
      else if (inside !== node) editor.replace(node, inside);
    }
    return withoutUnread(editor.finish(), scope.storedNodes);
  }

  #quantize(scope: EditedScope, node: Node, { constants = {} }: PlannedNode): readonly Node[] {
    const weight = (input: number) => this.#weight(scope, node, input, constants[input]!);
    const { forms } = scope;
    const bias = node.inputs[2];
    switch (node.opType) {
      case 'LSTM':
        return [forms.lstm(node, weight(1), weight(2))];
      case 'Gather':
        return forms.lookup(node, weight(0), this.#plan.domain);
      case 'Conv': {
        const spatialRank = constantIn(scope, node.inputs[1]!)!.tensor.dims.length - 2;
        return forms.product(node, 'ConvInteger', weight(1), bias && forms.channelBias(bias, constantIn(scope, bias)!.tensor, spatialRank));
      }
      default:
        return forms.product(node, 'MatMulInteger', weight(1), node.opType === 'Gemm' ? bias : undefined);
    }
  }

  /** Stores a constant as integers in the graph where it stands, once for each way of doing so. */
  #weight(scope: EditedScope, node: Node, input: number, planned: PlannedConstant): StoredWeight {
    const constant = constantIn(scope, node.inputs[input]!)!;
    const home = this.#scopeOf(constant.scope.graph, scope);
    const transposed = node.opType === 'LSTM' || (node.opType === 'Gemm' && intAttribute(node, 'transB', 0) !== 0);
    const key = JSON.stringify([constant.name, planned, transposed, /LSTM|Conv|Gather/.exec(node.opType)?.[0] ?? null]);
    const known = home.stored.get(key);
    if (known) return known;
    const tensors = storeDynamicWeight(constant.tensor, planned, this.#plan.scales[planned.scales]!, node.opType, transposed);
    const put = (suffix: string, tensor: Tensor) => {
      const name = this.#names.unique(`${constant.name}_${suffix}`);
      home.editor.setInitializer(name, tensor);
      return name;
    };
    const stored = {
      integers: put('q', tensors.integers),
      scale: put('s', tensors.scale),
      zeroPoint: put('z', tensors.zeroPoint),
      perChannel: planned.axis !== null,
    };
    home.stored.set(key, stored);
    if (constant.node) home.storedNodes.add(constant.node);
    return stored;
  }

  #scopeOf(graph: Graph, from: EditedScope): EditedScope {
    for (let scope: EditedScope | undefined = from; scope; scope = scope.parent) if (scope.graph === graph) return scope;
    throw new RangeError('a constant stands in no graph around its reader');
  }
}

/** Drops Constant nodes that nothing reads any more. */
function withoutUnread(graph: Graph, nodes: ReadonlySet<Node>): Graph {
  if (nodes.size === 0) return graph;
  const index = indexOf(graph);
  return { ...graph, nodes: graph.nodes.filter((node) => !nodes.has(node) || node.outputs.some((output) => index.isRead(output))) };
}
