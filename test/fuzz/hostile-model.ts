import type { Attribute, Graph, Model, Node, ValueInfo } from '../../src/graph/model.js';
import { encodeModel } from '../../src/onnx/model-codec.js';
import { readMessage, writeMessage, type Message } from '../../src/onnx/messages.js';
import type { Dice } from './mutate.js';

const NUMBERS = [-1, 0, 1, 2, 3, 7, 64, 65_535, 2 ** 31 - 1, 2 ** 31, 2 ** 40, -(2 ** 31)];
const PLACES = ['../outside.bin', '/etc/hostname', 'C:\\x', '\\\\host\\share', 'a/../../b', '', '.', 'model.onnx', 'x\0y'];

/** The bytes of a model whose message is well formed and whose content is not: names, shapes, types and versions that do not fit. */
export function hostileModel(model: Model, dice: Dice): Uint8Array {
  let changed = model;
  for (let rounds = 1 + dice.below(3); rounds > 0; rounds--) changed = { ...changed, ...changeOnce(changed, dice) };
  const bytes = encodeModel(changed);
  return dice.below(4) === 0 ? withHostileTensor(bytes, dice) : bytes;
}

function changeOnce(model: Model, dice: Dice): Partial<Model> {
  const { graph } = model;
  const kind = dice.below(12);
  if (kind === 0) return { opsets: new Map([['', dice.pick(NUMBERS)]]) };
  if (kind === 1) return { irVersion: dice.pick(NUMBERS) };
  return { graph: changedGraph(graph, dice, kind) };
}

function changedGraph(graph: Graph, dice: Dice, kind: number): Graph {
  if (graph.nodes.length === 0) return graph;
  const at = dice.below(graph.nodes.length);
  const node = graph.nodes[at]!;
  const values = [...graph.nodes.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]), ''];
  const others = (by: readonly Node[]): Graph => ({ ...graph, nodes: [...graph.nodes.slice(0, at), ...by, ...graph.nodes.slice(at + 1)] });
  const exchanged = (list: readonly string[]) => list.map((value) => (dice.below(2) ? dice.pick(values) : value));
  switch (kind) {
    case 2:
      return others([{ ...node, inputs: exchanged(node.inputs) }]);
    case 3:
      return others([{ ...node, outputs: exchanged(node.outputs) }]);
    case 4:
      return others([node, node]);
    case 5:
      return others([]);
    case 6:
      return { ...graph, nodes: [...graph.nodes].reverse() };
    case 7:
      return others([{ ...node, opType: dice.pick([...graph.nodes.map(({ opType }) => opType), 'NoSuchOperator', '']), domain: dice.pick(['', '', 'com.microsoft', 'acme']) }]);
    case 8: {
      const attributes = [...node.attributes].map(([name, attribute]): [string, Attribute] => {
        const value = dice.pick(NUMBERS);
        if (attribute.kind === 'int') return [name, { kind: 'int', value }];
        if (attribute.kind === 'ints') return [name, { kind: 'ints', value: dice.below(3) ? attribute.value.map(() => value) : [] }];
        return [name, dice.below(2) ? attribute : { kind: 'int', value }];
      });
      return others([{ ...node, attributes: new Map(attributes) }]);
    }
    case 9: {
      const shape = Array.from({ length: dice.below(6) }, () => dice.pick([...NUMBERS, null, 'N']));
      const strange = (value: ValueInfo): ValueInfo => (dice.below(2) ? value : { name: dice.pick([value.name, ...values]), type: { kind: 'tensor', dtype: dice.pick(['float32', 'int64', 'string', 'bfloat16']), shape } });
      return { ...graph, inputs: graph.inputs.map(strange), outputs: graph.outputs.map(strange) };
    }
    case 10:
      return { ...graph, inputs: [...graph.inputs, ...graph.outputs], outputs: [...graph.outputs, ...graph.inputs] };
    default: {
      const initializers = [...graph.initializers].map(([name, tensor]) => [dice.below(4) ? name : dice.pick(values), dice.below(3) ? tensor : { ...tensor, dims: [...tensor.dims].reverse() }] as const);
      return { ...graph, initializers: new Map(dice.below(3) ? initializers : initializers.slice(1)) };
    }
  }
}

/** The first constant with a shape, type, place or length that it does not have. */
function withHostileTensor(bytes: Uint8Array, dice: Dice): Uint8Array {
  const message = readMessage('ModelProto', bytes);
  const { graph } = message;
  const [first, ...rest] = graph?.initializer ?? [];
  if (!graph || !first) return bytes;
  const entry = (key: string, value: string) => ({ key, value });
  const external: Partial<Message<'TensorProto'>> = {
    data_location: 1,
    external_data: [entry('location', dice.pick(PLACES)), entry('offset', String(dice.pick(NUMBERS))), entry('length', dice.pick(['-1', '1e9', '', String(2 ** 53), '12']))],
  };
  const changes = dice.pick<Partial<Message<'TensorProto'>>>([
    external,
    { dims: Array.from({ length: dice.below(40) }, () => dice.pick(NUMBERS)) },
    { dims: new Array<number>(64).fill(2) },
    { data_type: dice.pick([0, 2, 8, 16, 21, 99, -1]) },
    { raw_data: new Uint8Array(), float_data: [] },
  ]);
  return writeMessage('ModelProto', { ...message, graph: { ...graph, initializer: [{ ...first, ...changes }, ...rest] } });
}
