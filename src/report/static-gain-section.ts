import type { QuantizeResult } from '../quantize.js';
import { heading, paragraph, type Block } from './document.js';

/** What a static plan would bring to integers in a model that was quantized dynamically; nothing where it would add nothing. */
export function staticGainSection({ mode, nodes }: Pick<QuantizeResult, 'mode' | 'nodes'>): Block[] {
  const left = nodes.filter(({ decision, reason }) => decision === 'float' && reason?.includes('static quantization (--data)'));
  if (mode !== 'dynamic' || left.length === 0) return [];
  const counts = new Map<string, number>();
  for (const { opType } of left) counts.set(opType, (counts.get(opType) ?? 0) + 1);
  const what = [...counts].sort(([, a], [, b]) => b - a).map(([opType, count]) => `${count} × ${opType}`);
  const convolutions = counts.has('Conv') ? ' Convolutions stay float here, because ConvInteger is 4 to 10 times slower than float; --op-types with Conv in it forces them.' : '';
  return [heading('What a static plan would add'), paragraph(`With samples (--data) these can run on integers too: ${what.join(', ')}.${convolutions}`)];
}
