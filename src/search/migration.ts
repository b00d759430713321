import type { Observations } from '../calibration/calibration-table.js';
import type { Model } from '../graph/model.js';
import type { SiteScales } from '../quantization/scale-migration.js';

/** Scales that were moved from activations into weights. */
export interface Migration {
  readonly alpha: number;
  readonly scales: readonly SiteScales[];
  /** The float model with them. */
  readonly float: Model;
  /** Values of it that are new, with the value that each is made from. */
  readonly inserted: ReadonlyMap<string, string>;
  /** What was observed of the values that are not what they were. */
  readonly records: Observations['tensors'];
}
