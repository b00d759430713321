import type { ProgressListener } from '../progress.js';
import type { RangeSamples } from './migrate-scales.js';
import type { PlannedModel } from './planner.js';

/** What a search may use beside models, and how it is watched and stopped. */
export interface SearchControl {
  /** Where further ranges come from; without, no scales are moved. */
  readonly rangeSamples?: RangeSamples;
  readonly onProgress?: ProgressListener | undefined;
  readonly isStopped: () => boolean;
}

/** Why a plan that was chosen is given up: by how many dB it misses what is asked of it where it was confirmed, or, where that is nothing, that it is slower than float. */
export interface Refutation {
  readonly planned: PlannedModel;
  readonly missingDb: number;
  /** By how many it misses what is asked of plans that keep the whole margin. */
  readonly missingOfWholeDb: number;
}
