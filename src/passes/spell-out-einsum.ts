import { mapSubgraphs, stringAttribute } from '../graph/attributes.js';
import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, type GraphIndex } from '../graph/graph-index.js';
import type { Graph, Node } from '../graph/model.js';
import { Names } from '../graph/names.js';
import { int64Tensor } from '../tensor/tensor.js';
import { passResult, type Pass } from './pass.js';

/** Labels of an equation at most. */
const MAX_LABELS = 8;

/**
 * Makes MatMul, with Transpose and Reshape where needed, of each Einsum of two operands that sums over an axis. The runtime does the same inside Einsum,
 * but several times slower, and only MatMul has an integer kernel. Left as they are: equations with an ellipsis or with a label that is repeated in an
 * operand or summed over in one alone, products without a sum or with a vector, and axes to be joined whose sizes no constant tells.
 */
export const spellOutEinsum: Pass = (model) => {
  const spelled: string[] = [];
  const graph = spellOut(model.graph, model.opsets.get('') ?? 1, new Names(model.graph), spelled);
  if (spelled.length === 0) return { model, changes: [] };
  return passResult(model, graph, [{ pass: 'spell-out-einsum', names: spelled, message: `${spelled.length} Einsum nodes became MatMul` }]);
};

function spellOut(graph: Graph, opset: number, names: Names, spelled: string[]): Graph {
  const index = indexOf(graph);
  const editor = new GraphEditor(graph, names);
  let edited = false;
  for (const original of graph.nodes) {
    const product = cheapestProduct(index, original);
    const nodes = product ? nodesOf(editor, original, product, opset) : [mapSubgraphs(original, (body) => spellOut(body, opset, names, spelled))];
    if (product) spelled.push(original.name || original.outputs[0]!);
    if (nodes[0] === original) continue;
    editor.replace(original, ...nodes);
    edited = true;
  }
  return edited ? editor.finish() : graph;
}

/** An operand of a product or its result, its axes named by the labels of the equation. */
interface Operand {
  readonly value: string;
  readonly labels: readonly string[];
  readonly isConstant: boolean;
}

/** MatMul of [lead…, row, sum…] and [batch…, sum…, columns…] with the sums joined, and so the columns: [lead…, row, columns…]. */
interface Product {
  readonly left: Operand;
  readonly right: Operand;
  /** Labels of the output in the equation's order. */
  readonly output: readonly string[];
  /** Labels that are read one by one: all in the left operand, some in the right. */
  readonly lead: readonly string[];
  readonly row: string;
  readonly sums: readonly string[];
  readonly columns: readonly string[];
  /** Sizes of labels that a constant tells. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly cost: number;
}

function cheapestProduct(index: GraphIndex, node: Node): Product | undefined {
  if (node.opType !== 'Einsum' || node.domain !== '' || node.inputs.length !== 2) return undefined;
  const equation = parseEquation(stringAttribute(node, 'equation', ''));
  if (!equation) return undefined;
  const constants = node.inputs.map((value) => index.constant(value));
  const sizes = new Map<string, number>();
  for (const [i, labels] of equation.operands.entries()) labels.forEach((label, axis) => constants[i] && sizes.set(label, constants[i].dims[axis]!));
  const [a, b] = equation.operands.map((labels, i): Operand => ({ value: node.inputs[i]!, labels, isConstant: constants[i] !== undefined }));
  const shared = a!.labels.filter((label) => b!.labels.includes(label));
  // Einsum repeats an axis of size 1 along an axis of another size, which MatMul does not do along sums.
  if (shared.some((label) => sizes.get(label) === 1)) return undefined;
  const products = [...productsOf(a!, b!, equation.output, sizes), ...productsOf(b!, a!, equation.output, sizes)];
  return products.reduce<Product | undefined>((best, product) => (best && best.cost <= product.cost ? best : product), undefined);
}

/** Labels of two operands and of their product; undefined for what is no sum of products of single elements, or of unknown rank. */
function parseEquation(text: string): { operands: readonly (readonly string[])[]; output: readonly string[] } | undefined {
  const [left = '', right] = text.replaceAll(' ', '').split('->');
  const operands = left.split(',').map((labels) => [...labels]);
  const all = operands.flat();
  const output = right === undefined ? [...new Set(all)].filter((label) => all.filter((other) => other === label).length === 1).sort() : [...right];
  const isPlain = [...operands, output].every((labels) => labels.every((label) => /^[a-zA-Z]$/.test(label)) && new Set(labels).size === labels.length);
  return isPlain && operands.length === 2 && new Set(all).size <= MAX_LABELS ? { operands, output } : undefined;
}

/** The ways to write an equation as one product with its operands in this order. */
function* productsOf(left: Operand, right: Operand, output: readonly string[], sizes: ReadonlyMap<string, number>): Generator<Product> {
  const isIn = (labels: readonly string[], wanted: boolean) => (label: string) => labels.includes(label) === wanted;
  const batch = left.labels.filter(isIn(right.labels, true)).filter(isIn(output, true));
  const sums = left.labels.filter(isIn(right.labels, true)).filter(isIn(output, false));
  const rows = left.labels.filter(isIn(right.labels, false));
  const columns = right.labels.filter(isIn(left.labels, false));
  const kept = [...batch, ...rows, ...columns];
  if (sums.length === 0 || rows.length === 0 || columns.length === 0 || kept.length !== output.length || !kept.every(isIn(output, true))) return;
  const isJoinable = (labels: readonly string[]) => labels.length === 1 || labels.every((label) => sizes.has(label));
  if (!isJoinable(sums) || !isJoinable(columns)) return;
  // The axis next to the sums has the most use of one matrix, where the cost is the same.
  for (const row of rows.toReversed()) {
    const others = rows.filter((label) => label !== row);
    for (const order of [left.labels, right.labels, output]) {
      const inOrder = (labels: readonly string[]) => [...labels].sort((x, y) => order.indexOf(x) - order.indexOf(y));
      const product = { left, right, output, lead: inOrder([...others, ...batch]), row, sums: inOrder(sums), columns: inOrder(columns), sizes, cost: 0 };
      yield { ...product, cost: costOf(product) };
    }
  }
}

const leftOrder = ({ lead, row, sums }: Product): string[] => [...lead, row, ...sums];
const rightOrder = ({ lead, sums, columns, right }: Product): string[] => [...lead.filter((label) => right.labels.includes(label)), ...sums, ...columns];
const resultOrder = ({ lead, row, columns }: Product): string[] => [...lead, row, ...columns];

/** Counts what is moved at each run: swapping the last two axes of an operand costs the least, since the runtime reads a matrix either way. */
function costOf(product: Product): number {
  const moving = (from: readonly string[], to: readonly string[], isOperand: boolean) => {
    if (from.join() === to.join()) return 0;
    const isSwap = isOperand && from.slice(0, -2).join() === to.slice(0, -2).join();
    return isSwap ? 1 : 4;
  };
  const { left, right, output } = product;
  const before = [[left, leftOrder(product)] as const, [right, rightOrder(product)] as const];
  const moved = before.reduce((sum, [{ labels, isConstant }, order]) => sum + (isConstant ? 0 : moving(labels, order, true)), 0);
  return 2 * (moved + moving(resultOrder(product), output, false)) + (left.isConstant ? 1 : 0);
}

function nodesOf(editor: GraphEditor, node: Node, product: Product, opset: number): Node[] {
  const { left, right, output, lead, row, sums, columns, sizes } = product;
  const [result] = node.outputs as [string];
  const nodes: Node[] = [];
  const name = (suffix: string) => editor.names.unique(`${node.name || result}_${suffix}`);
  const push = (opType: string, inputs: readonly string[], to: string, attributes: Readonly<Record<string, readonly number[]>> = {}) => {
    const ints = Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, { kind: 'ints', value } as const]));
    nodes.push(createNode({ name: name(opType.toLowerCase()), opType, inputs, outputs: [to], attributes: ints }));
    return to;
  };
  const constant = (suffix: string, values: readonly number[]) => editor.addInitializer(`${result}_${suffix}`, int64Tensor(values));
  const arrange = (value: string, from: readonly string[], order: readonly string[], to?: string) =>
    from.join() === order.join() ? value : push('Transpose', [value], to ?? editor.names.unique(`${result}_moved`), { perm: order.map((label) => from.indexOf(label)) });
  const reshape = (value: string, dims: readonly number[], to?: string) =>
    push('Reshape', [value, constant('shape', dims)], to ?? editor.names.unique(`${result}_joined`));
  const unsqueeze = (value: string, axes: readonly number[]) => {
    const to = editor.names.unique(`${result}_repeated`);
    return opset >= 13 ? push('Unsqueeze', [value, constant('axes', axes)], to) : push('Unsqueeze', [value], to, { axes });
  };
  const joined = (labels: readonly string[]) => labels.reduce((count, label) => count * sizes.get(label)!, 1);
  // Zeros keep the sizes of the axes before.
  const keep = [...lead, row].map(() => 0);
  const inRight = lead.map((label) => right.labels.includes(label));
  // MatMul repeats the right operand along what it lacks before its own axes; in between it needs an axis of size 1.
  const gaps = lead.flatMap((_, axis) => (inRight[axis] || !inRight.slice(0, axis).includes(true) ? [] : [axis - inRight.indexOf(true)]));

  let a = arrange(left.value, left.labels, leftOrder(product));
  if (sums.length > 1) a = reshape(a, [...keep, joined(sums)]);
  let b = arrange(right.value, right.labels, rightOrder(product));
  const width = columns.every((label) => sizes.has(label)) ? joined(columns) : -1;
  if (sums.length > 1 || columns.length > 1) b = reshape(b, [...inRight.filter(Boolean).map(() => 0), sums.length > 1 ? joined(sums) : 0, width]);
  if (gaps.length > 0) b = unsqueeze(b, gaps);

  const isMoved = resultOrder(product).join() !== output.join();
  const isSplit = columns.length > 1;
  const matrix = isMoved || isSplit ? editor.names.unique(`${result}_product`) : result;
  nodes.push(createNode({ name: node.name, opType: 'MatMul', inputs: [a, b], outputs: [matrix] }));
  const split = isSplit ? reshape(matrix, [...keep, ...columns.map((label) => sizes.get(label)!)], isMoved ? undefined : result) : matrix;
  arrange(split, resultOrder(product), output, result);
  return nodes;
}
