import type { Warning } from '../progress.js';
import { heading, span, type Block } from './document.js';

/** What to say about the form of a result. */
export interface DescribeOptions {
  /** False where warnings were shown as they came, so that they are not said twice. */
  readonly warnings: boolean;
}

/** The warnings of a result with their advice; nothing where there are none or they were shown already. */
export function warningsSection(warnings: readonly Warning[], options: DescribeOptions): Block[] {
  if (!options.warnings || warnings.length === 0) return [];
  return [heading('Warnings'), { kind: 'list', whole: true, items: warnings.map(({ message, advice }) => span(`${message}. ${advice}`, 'warning')) }];
}
