import type { PlannedConstant, PlannedNode, PlannedTensor, QuantizationPlan } from '../quantization/plan.js';
import { dtypeInfo } from '../tensor/dtype.js';
import { heading, span, type Block, type Cell, type Column } from './document.js';
import { countOf, figure } from './format.js';

/** A plan in full: what each node becomes and why; type, scale, zero point and range of each tensor; how each constant is stored. */
export function planSection(plan: QuantizationPlan): Block[] {
  const tensors = Object.entries(plan.tensors);
  const constants = plan.nodes.flatMap(constantRows(plan));
  return [
    ...section(`Nodes (${plan.nodes.length})`, {
      columns: [{ title: 'node' }, { title: 'operator' }, { title: 'becomes' }, { title: 'kernel' }, { title: 'why' }],
      rows: plan.nodes.map((node) => [node.name, node.opType, span(node.decision, node.decision === 'quantized' ? 'good' : 'plain'), node.kernel ?? '', node.reason ?? (node.takenBy ? `part of ${node.takenBy}` : '')]),
    }),
    ...section(`Tensors that pass through Q and DQ (${tensors.length})`, {
      columns: [
        { title: 'value' },
        { title: 'type' },
        { title: 'scale', align: 'right' },
        { title: 'zero point', align: 'right' },
        { title: 'range', align: 'right' },
        { title: 'parameters of' },
      ],
      rows: tensors.map(([name, tensor]) => [name, dtypeInfo(tensor.dtype).short, figure(tensor.scale, 6), String(tensor.zeroPoint), rangeText(tensor), tensor.sharedWith ?? '']),
    }),
    ...section(`Constants stored as integers (${constants.length})`, {
      columns: [{ title: 'node' }, { title: 'input', align: 'right' }, { title: 'type' }, { title: 'zero point', align: 'right' }, { title: 'scales' }],
      rows: constants,
    }),
  ];
}

function section(title: string, table: { readonly columns: readonly Column[]; readonly rows: readonly (readonly Cell[])[] }): Block[] {
  return table.rows.length > 0 ? [heading(title), { kind: 'table', whole: true, ...table }] : [];
}

function rangeText({ range: [low, high] }: PlannedTensor): string {
  return `${figure(low)} … ${figure(high)}`;
}

function constantRows({ scales }: QuantizationPlan): (node: PlannedNode) => string[][] {
  const row = (name: string, input: string, { dtype, axis, scales: key, zeroPoint }: PlannedConstant) => [
    name,
    input,
    dtypeInfo(dtype).short,
    String(zeroPoint),
    scaleText(scales[key] ?? [], axis),
  ];
  return ({ name, constants = {}, biasAdd }) => [
    ...Object.entries(constants).map(([input, constant]) => row(name, input, constant)),
    ...(biasAdd?.as === 'int32' ? [row(biasAdd.name, String(biasAdd.input), biasAdd.constant)] : []),
  ];
}

function scaleText(scales: readonly number[], axis: number | null): string {
  if (axis === null || scales.length === 1) return `${figure(scales[0] ?? 0, 6)}${axis === null ? '' : ` along axis ${axis}`}`;
  const [low, high] = scales.reduce(([min, max], scale) => [Math.min(min, scale), Math.max(max, scale)], [Infinity, -Infinity]);
  return `${countOf(scales.length, 'scale')} along axis ${axis}, ${figure(low)} … ${figure(high)}`;
}
