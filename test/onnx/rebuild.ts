import type { Attribute, Graph, Model, Node, ValueInfo } from '../../src/graph/model.js';
import type { Tensor } from '../../src/tensor/tensor.js';

/** The model with every object and list in it copied, so that encoding has to compare everything. */
export function rebuild(model: Model): Model {
  return {
    ...model,
    opsets: new Map(model.opsets),
    metadata: new Map(model.metadata),
    graph: rebuildGraph(model.graph),
    functions: model.functions.map((modelFunction) => ({ ...modelFunction })),
  };
}

function rebuildGraph(graph: Graph): Graph {
  return {
    ...graph,
    nodes: graph.nodes.map(rebuildNode),
    initializers: new Map([...graph.initializers].map(([name, tensor]) => [name, rebuildTensor(tensor)])),
    sparseInitializers: [...graph.sparseInitializers],
    inputs: graph.inputs.map(rebuildValue),
    outputs: graph.outputs.map(rebuildValue),
    valueInfo: graph.valueInfo.map(rebuildValue),
  };
}

function rebuildNode(node: Node): Node {
  const attributes = [...node.attributes].map(([name, attribute]) => [name, rebuildAttribute(attribute)] as const);
  return { ...node, inputs: [...node.inputs], outputs: [...node.outputs], attributes: new Map(attributes) };
}

function rebuildAttribute(attribute: Attribute): Attribute {
  switch (attribute.kind) {
    case 'ints':
      return { ...attribute, value: [...attribute.value] };
    case 'floats':
      return { ...attribute, value: [...attribute.value] };
    case 'strings':
      return { ...attribute, value: [...attribute.value] };
    case 'tensor':
      return { ...attribute, value: rebuildTensor(attribute.value) };
    case 'graph':
      return { ...attribute, value: rebuildGraph(attribute.value) };
    case 'graphs':
      return { ...attribute, value: attribute.value.map(rebuildGraph) };
    default:
      return { ...attribute };
  }
}

function rebuildTensor(tensor: Tensor): Tensor {
  return { ...tensor, dims: [...tensor.dims] };
}

function rebuildValue(value: ValueInfo): ValueInfo {
  return { ...value, type: structuredClone(value.type) };
}
