import { constantBytes } from '../graph/constant-bytes.js';
import type { Graph } from '../graph/model.js';
import { FASTER } from './choose-plan.js';
import type { PlannedModel } from './planner.js';
import type { SearchResult } from './search-result.js';

/** Whether a model had better be written as it came: nothing is on integers, nor any weight stored, and clean-up makes it larger without winning time. */
export function isBestAsItCame(found: Pick<SearchResult, 'integerNodes' | 'cleanSpeedup'> | undefined, { others }: Pick<PlannedModel, 'others'>, original: Graph, cleaned: Graph): boolean {
  if (!found || found.integerNodes > 0 || others.size > 0) return false;
  return (found.cleanSpeedup?.median ?? 1) < FASTER && constantBytes(cleaned) > constantBytes(original);
}
