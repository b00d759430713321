import type { Graph, Node } from '../graph/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { decodeAttribute, encodeAttribute } from './attribute-codec.js';
import type { SideFiles } from './external-data.js';
import { patch, type Message } from './messages.js';
import { keepMessages, keepScalars, keepText, Source } from './source.js';
import { decodeTensor, encodeTensor } from './tensor-codec.js';
import { decodeValueInfo, encodeValueInfo } from './value-info-codec.js';

/** The graph of a message, with the bodies inside it. Throws as `decodeTensor` does. */
export function decodeGraph(message: Message<'GraphProto'>, files: SideFiles): Graph {
  const initializers = (message.initializer ?? []).map((tensor): [string, Tensor] => {
    const name = tensor.name ?? '';
    return [name, decodeTensor(tensor, name, files)];
  });
  return Source.attach<'GraphProto', Graph>(message, {
    name: message.name ?? '',
    nodes: (message.node ?? []).map((node) => decodeNode(node, files)),
    initializers: new Map(initializers),
    sparseInitializers: (message.sparse_initializer ?? []).map(sparseName),
    inputs: (message.input ?? []).map(decodeValueInfo),
    outputs: (message.output ?? []).map(decodeValueInfo),
    valueInfo: (message.value_info ?? []).map(decodeValueInfo),
  });
}

/** The message of a graph: only what was edited is made anew. */
export function encodeGraph(graph: Graph): Message<'GraphProto'> {
  const { message, decoded } = Source.of<'GraphProto', Graph>(graph);
  if (graph === decoded) return message;
  const sparse = new Set(graph.sparseInitializers);
  return patch(message, {
    name: keepText(graph.name, decoded?.name, message.name),
    node: keepMessages(graph.nodes, decoded?.nodes, message.node, encodeNode),
    initializer: keepMessages(graph.initializers, decoded?.initializers, message.initializer, ([name, tensor]) =>
      encodeTensor(tensor, name),
    ),
    sparse_initializer: keepMessages(
      (message.sparse_initializer ?? []).filter((tensor) => sparse.has(sparseName(tensor))),
      undefined,
      message.sparse_initializer,
      (tensor) => tensor,
    ),
    input: keepMessages(graph.inputs, decoded?.inputs, message.input, encodeValueInfo),
    output: keepMessages(graph.outputs, decoded?.outputs, message.output, encodeValueInfo),
    value_info: keepMessages(graph.valueInfo, decoded?.valueInfo, message.value_info, encodeValueInfo),
  });
}

/** The node of a message, with the bodies inside it. Throws as `decodeTensor` does. */
export function decodeNode(message: Message<'NodeProto'>, files: SideFiles): Node {
  const name = message.name ?? '';
  const opType = message.op_type ?? '';
  const place = `${opType} ${name || (message.output?.[0] ?? '')}`;
  const attributes = (message.attribute ?? []).map(
    (attribute) =>
      [attribute.name ?? '', decodeAttribute(attribute, place, files, (body) => decodeGraph(body, files))] as const,
  );
  return Source.attach<'NodeProto', Node>(message, {
    name,
    opType,
    domain: message.domain === 'ai.onnx' ? '' : (message.domain ?? ''),
    inputs: message.input ?? [],
    outputs: message.output ?? [],
    attributes: new Map(attributes),
    ...(message.overload ? { overload: message.overload } : {}),
  });
}

function encodeNode(node: Node): Message<'NodeProto'> {
  const { message, decoded } = Source.of<'NodeProto', Node>(node);
  if (node === decoded) return message;
  const isSameOperator = node.opType === decoded?.opType && node.domain === decoded.domain;
  return patch(message, {
    input: keepScalars(node.inputs, decoded?.inputs, message.input, (name) => name),
    output: keepScalars(node.outputs, decoded?.outputs, message.output, (name) => name),
    name: keepText(node.name, decoded?.name, message.name),
    op_type: keepText(node.opType, decoded?.opType, message.op_type),
    domain: keepText(node.domain, decoded?.domain, message.domain),
    // An overload names a function of the model for the operator that the node was.
    overload: isSameOperator ? message.overload : undefined,
    attribute: keepMessages(node.attributes, decoded?.attributes, message.attribute, ([name, attribute]) =>
      encodeAttribute(attribute, name, encodeGraph),
    ),
  });
}

function sparseName(message: Message<'SparseTensorProto'>): string {
  return message.values?.name ?? '';
}
