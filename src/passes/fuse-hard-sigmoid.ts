import { createNode, GraphEditor } from '../graph/graph-editor.js';
import { indexOf, soleReader, type GraphIndex } from '../graph/graph-index.js';
import type { Node } from '../graph/model.js';
import { elementCount } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { passResult, type Pass } from './pass.js';

/**
 * Makes one HardSigmoid of Clip(x + c, 0, m) / m, and Mul(x, HardSigmoid(x)) of x · Clip(x + c, 0, m) / m, which exporters spell out for
 * activations of mobile nets (c = 3, m = 6). HardSigmoid is max(0, min(1, α·x + β)), here with α = 1 / m and β = c / m.
 */
export const fuseHardSigmoid: Pass = (model) => {
  const index = indexOf(model.graph);
  const editor = new GraphEditor(model.graph);
  const fused: string[] = [];
  for (const clip of model.graph.nodes) {
    const chain = matchChain(index, clip);
    if (!chain) continue;
    const { add, scale, x, product, last } = chain;
    const output = product ? editor.names.unique(`${last.outputs[0]}_gate`) : last.outputs[0]!;
    const attributes = { alpha: { kind: 'float', value: 1 / scale }, beta: { kind: 'float', value: chain.shift / scale } } as const;
    editor.replace(add);
    if (product) editor.replace(product);
    if (clip !== last) editor.replace(clip);
    const gate = createNode({ name: clip.name, opType: 'HardSigmoid', inputs: [x], outputs: [output], attributes });
    if (product) editor.replace(last, gate, createNode({ name: product.name, opType: 'Mul', inputs: [x, output], outputs: [last.outputs[0]!] }));
    else editor.replace(last, gate);
    fused.push(clip.name || clip.outputs[0]!);
  }
  if (fused.length === 0) return { model, changes: [] };
  const message = `${fused.length} hard sigmoids spelled out in Add, Clip and Div became one operator each`;
  return passResult(model, editor.finish(), [{ pass: 'fuse-hard-sigmoid', names: fused, message }]);
};

interface Chain {
  readonly x: string;
  readonly add: Node;
  readonly shift: number;
  readonly scale: number;
  /** Mul by x between Clip and the division, where there is one. */
  readonly product: Node | undefined;
  /** The division, whose output the chain makes. */
  readonly last: Node;
}

function matchChain(index: GraphIndex, clip: Node): Chain | undefined {
  if (!isOnnx(clip, 'Clip')) return undefined;
  const add = index.producer(clip.inputs[0]!);
  const scale = scalar(index, clip.inputs[2]);
  if (!add || !isOnnx(add, 'Add') || scalar(index, clip.inputs[1]) !== 0 || scale === undefined || !(scale > 0)) return undefined;
  if (soleReader(index, add.outputs[0]!) !== clip) return undefined;
  const constantAt = add.inputs.findIndex((input) => scalar(index, input) !== undefined);
  if (constantAt < 0) return undefined;
  const x = add.inputs[1 - constantAt]!;
  const shift = scalar(index, add.inputs[constantAt])!;
  const next = soleReader(index, clip.outputs[0]!);
  const product = next && isOnnx(next, 'Mul') && next.inputs.includes(x) ? next : undefined;
  const last = product ? soleReader(index, product.outputs[0]!) : next;
  const before = (product ?? clip).outputs[0]!;
  if (!last || !dividesBy(index, last, before, scale)) return undefined;
  return { x, add, shift, scale, product, last };
}

/** Whether the node is value / divisor, or value · (1 / divisor) as float32 has it. */
function dividesBy(index: GraphIndex, node: Node, value: string, divisor: number): boolean {
  if (isOnnx(node, 'Div')) return node.inputs[0] === value && scalar(index, node.inputs[1]) === divisor;
  if (!isOnnx(node, 'Mul')) return false;
  const factor = scalar(index, node.inputs[node.inputs[0] === value ? 1 : 0]);
  return factor !== undefined && Math.abs(factor * divisor - 1) < 1e-6;
}

function isOnnx(node: Node, opType: string): boolean {
  return node.opType === opType && node.domain === '';
}

/** The one element of a float32 constant that broadcasts without adding dimensions; undefined for anything else. */
function scalar(index: GraphIndex, name: string | undefined): number | undefined {
  const tensor = name ? index.constant(name) : undefined;
  return tensor?.dtype === 'float32' && tensor.dims.length <= 1 && elementCount(tensor.dims) === 1 ? numbersOf(tensor)[0] : undefined;
}
