import { intAttribute, intsAttribute, stringAttribute, floatAttribute, withAttributes } from '../graph/attributes.js';
import { createNode } from '../graph/graph-editor.js';
import type { Attribute, Node } from '../graph/model.js';
import { float32Tensor, int64Tensor, type Tensor } from '../tensor/tensor.js';

/** What an adapter may use beside the node. */
export interface AdapterContext {
  /** Adds a constant and returns its name. */
  constant(hint: string, tensor: Tensor): string;
  /** A free value name. */
  value(hint: string): string;
  /** Declared or constant rank of a value; undefined where unknown. */
  rank(value: string): number | undefined;
  /** Elements of a constant; undefined for other values. */
  numbers(value: string): ArrayLike<number> | undefined;
  /** Whether anything reads the value. */
  isRead(value: string): boolean;
}

/** One change of an operator's meaning: the nodes that take the old node's place, or why there are none. */
export interface Adapter {
  readonly opType: string;
  /** Operator set version that brought the change. */
  readonly version: number;
  readonly adapt: (node: Node, context: AdapterContext) => readonly Node[] | string;
}

const string = (value: string): Attribute => ({ kind: 'string', value });

/**
 * Operators whose form or meaning changed from version 7 to 21, in order of version. Changes that only added types, optional
 * inputs or attributes with the old behavior as default need no row. Source: "Version" sections of onnx/docs/Changelog.md.
 */
export const ADAPTERS: readonly Adapter[] = [
  // Scales moved from an attribute to an input.
  { opType: 'Upsample', version: 9, adapt: (node, context) => {
    const attribute = node.attributes.get('scales');
    if (attribute?.kind !== 'floats') return 'it has no scales';
    const scales = context.constant(`${node.outputs[0]}_scales`, float32Tensor(attribute.value));
    return [{ ...withAttributes(node, { scales: undefined }), inputs: [node.inputs[0]!, scales] }];
  } },
  { opType: 'Scan', version: 9, adapt: () => 'its batch dimension was removed' },
  { opType: 'BatchNormalization', version: 9, adapt: (node) =>
    intAttribute(node, 'spatial', 1) === 1 ? [without(node, 'spatial')] : 'statistics for each position (spatial = 0) were removed' },
  // Deprecated in favor of Resize, which then still sampled the way Upsample does.
  { opType: 'Upsample', version: 10, adapt: (node) => [{ ...node, opType: 'Resize' }] },
  { opType: 'Slice', version: 10, adapt: (node, context) => {
    const starts = intsAttribute(node, 'starts');
    const ends = intsAttribute(node, 'ends');
    if (!starts || !ends) return 'it has no starts or ends';
    const axes = intsAttribute(node, 'axes') ?? starts.map((_, i) => i);
    const names = Object.entries({ starts, ends, axes }).map(([part, values]) => context.constant(`${node.outputs[0]}_${part}`, int64Tensor(values)));
    return [{ ...withAttributes(node, { starts: undefined, ends: undefined, axes: undefined }), inputs: [node.inputs[0]!, ...names] }];
  } },
  { opType: 'TopK', version: 10, adapt: (node, context) => {
    const k = context.constant(`${node.outputs[0]}_k`, int64Tensor([intAttribute(node, 'k', 1)]));
    return [{ ...withAttributes(node, { k: undefined }), inputs: [node.inputs[0]!, k] }];
  } },
  // The mask became boolean here, and the runtime fills it otherwise from version 12 on.
  { opType: 'Dropout', version: 10, adapt: withoutMask },
  { opType: 'Clip', version: 11, adapt: (node, context) => {
    const bound = (name: 'min' | 'max') =>
      node.attributes.has(name) ? context.constant(`${node.outputs[0]}_${name}`, float32Tensor(floatAttribute(node, name, 0))) : '';
    return [{ ...withAttributes(node, { min: undefined, max: undefined }), inputs: trimmed([node.inputs[0]!, bound('min'), bound('max')]) }];
  } },
  { opType: 'Pad', version: 11, adapt: (node, context) => {
    const pads = intsAttribute(node, 'pads');
    if (!pads) return 'it has no pads';
    const value = floatAttribute(node, 'value', 0);
    const inputs = [node.inputs[0]!, context.constant(`${node.outputs[0]}_pads`, int64Tensor(pads))];
    if (value !== 0) inputs.push(context.constant(`${node.outputs[0]}_value`, float32Tensor(value)));
    return [{ ...withAttributes(node, { pads: undefined, value: undefined }), inputs }];
  } },
  // An roi input came in between, and the way of sampling became an attribute whose default is another.
  { opType: 'Resize', version: 11, adapt: (node, context) => {
    const mode = stringAttribute(node, 'mode', 'nearest');
    // The runtime rounded down where it enlarged and up where it shrank. Scales that vary are taken to enlarge, as exporters make them.
    const scales = Array.from(context.numbers(node.inputs[1]!) ?? []);
    const shrinks = scales.some((scale) => scale < 1);
    if (mode === 'nearest' && shrinks && scales.some((scale) => scale > 1)) return 'it shrinks one axis and enlarges another';
    const roi = context.constant(`${node.outputs[0]}_roi`, float32Tensor([]));
    const sampling = { coordinate_transformation_mode: string('asymmetric'), nearest_mode: string(shrinks ? 'ceil' : 'floor') };
    return [{ ...withAttributes(node, { ...sampling, mode: string(mode) }), inputs: [node.inputs[0]!, roi, node.inputs[1]!] }];
  } },
  { opType: 'Scatter', version: 11, adapt: (node) => [{ ...node, opType: 'ScatterElements' }] },
  { opType: 'Dropout', version: 12, adapt: (original, context) => {
    const maskless = withoutMask(original, context);
    if (typeof maskless === 'string') return maskless;
    const [node] = maskless;
    const ratio = context.constant(`${node.outputs[0]}_ratio`, float32Tensor(floatAttribute(node, 'ratio', 0.5)));
    return [{ ...withAttributes(node, { ratio: undefined }), inputs: [node.inputs[0]!, ratio] }];
  } },
  ...(['Squeeze', 'Unsqueeze', 'ReduceSum'] as const).map((opType): Adapter => ({ opType, version: 13, adapt: axesToInput })),
  { opType: 'Split', version: 13, adapt: (node, context) => {
    const sizes = intsAttribute(node, 'split');
    if (!sizes) return [node];
    return [{ ...withAttributes(node, { split: undefined }), inputs: [node.inputs[0]!, context.constant(`${node.outputs[0]}_split`, int64Tensor(sizes))] }];
  } },
  // Until then everything from `axis` on was one dimension.
  ...(['Softmax', 'LogSoftmax', 'Hardmax'] as const).map((opType): Adapter => ({ opType, version: 13, adapt: (node, context) => {
    const rank = context.rank(node.inputs[0]!);
    const axis = intAttribute(node, 'axis', 1);
    if (axis === -1 || axis + 1 === rank) return [withAttributes(node, { axis: { kind: 'int', value: axis } })];
    const [input, output] = [node.inputs[0]!, node.outputs[0]!];
    const [shape, flat, soft] = ['shape', 'flat', 'soft'].map((part) => context.value(`${output}_${part}`)) as [string, string, string];
    return [
      createNode({ name: context.value(`${node.name}_shape`), opType: 'Shape', inputs: [input], outputs: [shape] }),
      createNode({ name: context.value(`${node.name}_flatten`), opType: 'Flatten', inputs: [input], outputs: [flat], attributes: { axis: { kind: 'int', value: axis } } }),
      { ...withAttributes(node, { axis: { kind: 'int', value: -1 } }), inputs: [flat], outputs: [soft] },
      createNode({ name: context.value(`${node.name}_reshape`), opType: 'Reshape', inputs: [soft, shape], outputs: [output] }),
    ];
  } })),
  // The statistics of training, outputs until then, are given in a training mode only.
  { opType: 'BatchNormalization', version: 14, adapt: (node, context) => {
    const [output, ...statistics] = node.outputs;
    if (statistics.length === 0) return [node];
    return statistics.some((value) => value && context.isRead(value)) ? 'its statistics of training are read' : [{ ...node, outputs: [output!] }];
  } },
  // The default became another way of sampling.
  { opType: 'RoiAlign', version: 16, adapt: (node) =>
    node.attributes.has('coordinate_transformation_mode') ? [node] : [withAttributes(node, { coordinate_transformation_mode: string('output_half_pixel') })] },
  ...(['ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSumSquare'] as const).map(
    (opType): Adapter => ({ opType, version: 18, adapt: axesToInput }),
  ),
  // Equal parts have to be asked for.
  { opType: 'Split', version: 18, adapt: (node) =>
    node.inputs[1] || node.attributes.has('num_outputs') ? [node] : [withAttributes(node, { num_outputs: { kind: 'int', value: node.outputs.length } })] },
  { opType: 'GridSample', version: 20, adapt: (node) => {
    const mode = { bilinear: 'linear', bicubic: 'cubic' }[stringAttribute(node, 'mode', '')];
    return mode ? [withAttributes(node, { mode: string(mode) })] : [node];
  } },
  { opType: 'DFT', version: 20, adapt: (node, context) => {
    const axis = context.constant(`${node.outputs[0]}_axis`, int64Tensor(intAttribute(node, 'axis', 1)));
    return [{ ...withAttributes(node, { axis: undefined }), inputs: [node.inputs[0]!, node.inputs[1] ?? '', axis] }];
  } },
  { opType: 'GroupNormalization', version: 21, adapt: () => 'its scale and bias changed from one a group to one a channel' },
];

/** The axes of a reduction as its second input. */
function axesToInput(node: Node, context: AdapterContext): readonly Node[] {
  const axes = intsAttribute(node, 'axes');
  if (!axes) return [node];
  return [{ ...withAttributes(node, { axes: undefined }), inputs: [node.inputs[0]!, context.constant(`${node.outputs[0]}_axes`, int64Tensor(axes))] }];
}

/** The node without an attribute; the same node where it has none of that name. */
function without(node: Node, attribute: string): Node {
  return node.attributes.has(attribute) ? withAttributes(node, { [attribute]: undefined }) : node;
}

function withoutMask(node: Node, context: AdapterContext): readonly [Node] | string {
  const [output, mask] = node.outputs;
  if (!mask) return [node];
  return context.isRead(mask) ? 'its mask, which is read, changed its meaning' : [{ ...node, outputs: [output!] }];
}

function trimmed(inputs: string[]): string[] {
  while (inputs.at(-1) === '') inputs.pop();
  return inputs;
}
