import type { PlannedNode, PlannedTensor, QuantizationPlan } from '../quantization/plan.js';
import { dtypeInfo } from '../tensor/dtype.js';
import { heading, span, type Block } from './document.js';
import { countOf, figure } from './format.js';

/** A plan in full: what each node becomes and why; type, scale, zero point and range of each tensor; how each constant is stored. */
export function planSection(plan: QuantizationPlan): Block[] {
  const tensors = Object.entries(plan.tensors);
  const constants = plan.nodes.flatMap(constantRows(plan));
  return [
    heading(`Nodes (${countOf(plan.nodes.length, 'node')})`),
    {
      kind: 'table',
      whole: true,
      columns: [{ title: 'node' }, { title: 'operator' }, { title: 'becomes' }, { title: 'kernel' }, { title: 'why' }],
      rows: plan.nodes.map((node) => [nameOf(node), node.opType, span(node.decision, node.decision === 'quantized' ? 'good' : 'plain'), node.kernel ?? '', node.reason ?? '']),
    },
    heading(`Tensors that pass through Q and DQ (${tensors.length})`),
    {
      kind: 'table',
      whole: true,
      columns: [
        { title: 'value' },
        { title: 'type' },
        { title: 'scale', align: 'right' },
        { title: 'zero point', align: 'right' },
        { title: 'range', align: 'right' },
        { title: 'parameters of' },
      ],
      rows: tensors.map(([name, tensor]) => [name, dtypeInfo(tensor.dtype).short, figure(tensor.scale, 6), String(tensor.zeroPoint), rangeText(tensor), tensor.sharedWith ?? '']),
    },
    heading(`Constants stored as integers (${constants.length})`),
    {
      kind: 'table',
      whole: true,
      columns: [{ title: 'node' }, { title: 'input', align: 'right' }, { title: 'type' }, { title: 'zero point', align: 'right' }, { title: 'scales' }],
      rows: constants,
    },
  ];
}

function rangeText({ range: [low, high] }: PlannedTensor): string {
  return `${figure(low)} … ${figure(high)}`;
}

function constantRows({ scales }: QuantizationPlan): (node: PlannedNode) => string[][] {
  return (node) =>
    Object.entries(node.constants ?? {}).map(([input, { dtype, axis, scales: key, zeroPoint }]) => [
      nameOf(node),
      input,
      dtypeInfo(dtype).short,
      String(zeroPoint),
      scaleText(scales[key] ?? [], axis),
    ]);
}

function scaleText(scales: readonly number[], axis: number | null): string {
  if (axis === null || scales.length === 1) return `${figure(scales[0] ?? 0, 6)}${axis === null ? '' : ` along axis ${axis}`}`;
  const [low, high] = scales.reduce(([min, max], scale) => [Math.min(min, scale), Math.max(max, scale)], [Infinity, -Infinity]);
  return `${countOf(scales.length, 'scale')} along axis ${axis}, ${figure(low)} … ${figure(high)}`;
}

function nameOf({ name, id }: PlannedNode): string {
  return name || id;
}
