import type { Node } from '../graph/model.js';
import type { MedianInterval } from '../metrics/statistics.js';
import type { AssignmentCosts } from './fastest-assignment.js';
import type { Choices, OtherForm, WeightForm } from './planner.js';

/** Plans that a search starts from, in words. */
export const ALL_STATIC = 'all static';
export const ALL_DYNAMIC = 'all dynamic';

/** Why a node is in float that was found to be too loud, or that takes no part in a plan. */
export const LEFT_IN_FLOAT = 'left in float by measurement';

/** Forms in words. */
export const FORM_NAMES: Readonly<Record<OtherForm | 'stored', string>> = { dynamic: 'dynamic', blocks: 'in 8-bit blocks', stored: 'in float with weights stored in 8 bits' };

/** What is not static, in numbers. */
export function describeForms({ float, others, bodies }: Choices): string {
  const count = (form: OtherForm | 'stored') => [...others.values()].filter((other) => other.form === form).length;
  const parts = [[float.size + bodies.size, 'in float'], ...(['dynamic', 'blocks', 'stored'] as const).map((form) => [count(form), FORM_NAMES[form]] as const)] as const;
  return `nodes that are not static: ${parts.flatMap(([nodes, how]) => (nodes > 0 ? [`${nodes} ${how}`] : [])).join(', ')}`;
}

/** Weights in words. */
export function weightsLabel({ weightType, reduceRange }: WeightForm): string {
  return `weights in ${weightType === 'uint8' ? 'u8' : 's8'}${reduceRange ? ' of 7 bits' : ''}`;
}

/** Why a node is not static, with its times where they were measured. */
export function measuredReason(node: Node, selected: Parameters<AssignmentCosts['times']['float']>[0] | undefined, { times, noise, forms }: AssignmentCosts): string {
  const alone = noise.get(node.name);
  const loudness = alone ? `; its share of the noise when static is ${(-10 * Math.log10(alone)).toFixed(0)} dB below the signal` : '';
  if (!times.isMeasured) return `not static by measurement${loudness}`;
  const parts = [
    ...(selected ? [`${inMs(times.integer(selected))} static and conversions at its edges`] : []),
    ...(forms.get(node.name) ?? []).map(({ form, timeMs }) => `${inMs(timeMs)} ${form}`),
    `${inMs(selected ? times.float(selected) : times.floatOf(node))} in float`,
  ];
  return `measured: ${parts.join(', ')}${loudness}`;
}

const inMs = (time: number) => `${time.toPrecision(3)} ms`;

/** "1.02 × [0.98, 1.05]". */
export function ratioText(ratio: MedianInterval | null): string {
  return ratio ? `${ratio.median.toFixed(2)} × [${ratio.low.toFixed(2)}, ${ratio.high.toFixed(2)}]` : 'no known time';
}
