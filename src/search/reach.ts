import type { Contender, Proposal } from './contender.js';

/** Rounds in which the noise that is allowed shrinks, because the nodes' noises together came to more than their sum, or grows, because they came to less. */
const MAX_TIGHTENINGS = 3;

/** Where the budget is a drop of the task metric: noise that is allowed first, and by how much less in each round. */
const [FIRST_DROP_BUDGET_DB, DROP_STEP_DB] = [10, 6];

/** How much quieter than asked for an assignment must be for a louder and faster one to be looked for. */
const MIN_ROOM_DB = 1.5;

/** What assignments are to have. */
interface Aim {
  readonly aimedDb: number;
  /** The sum of the nodes' noises that the first is allowed, in dB below the signal. */
  readonly budgetDb: number;
  /** By how much it should be faster than float to be tried, and only as long as it is not late. */
  readonly leastSpeedup?: number;
}

/** The budget of noise that was right last, and whether an assignment then had what was asked. */
interface Reached {
  readonly budgetDb: number;
  readonly isKept: boolean;
}

/** How assignments are made and tried. */
export interface Reaching {
  /** The fastest assignment with no more noise than this many dB below the signal. */
  readonly assign: (budgetDb: number) => Proposal;
  /** What it gives; undefined where it brings nothing to integers. */
  readonly judge: (proposal: Proposal) => Promise<Contender | undefined>;
  readonly predictedSpeedup: (proposal: Proposal) => number;
  /** Whether noises are known: without, there is only one assignment. */
  readonly hasNoise: boolean;
  readonly isLate: () => boolean;
  readonly isStopped: () => boolean;
}

/**
 * Tries assignments until one has at least so many dB and little more: their budget shrinks where the nodes' noises together come to more than their
 * sum, and grows where they come to less. Gives the budget that was right last.
 */
export async function reach({ assign, judge, predictedSpeedup, hasNoise, isLate, isStopped }: Reaching, { aimedDb, budgetDb: first, leastSpeedup = 0 }: Aim): Promise<Reached> {
  let budgetDb = first;
  let keptDb: number | undefined;
  for (let round = 0; round <= MAX_TIGHTENINGS && !isStopped(); round++) {
    const proposal = assign(budgetDb);
    if (leastSpeedup > 0 && (isLate() || predictedSpeedup(proposal) < leastSpeedup)) break;
    const one = await judge(proposal);
    if (!one || one.integerNodes === 0 || !hasNoise) break;
    if (one.sqnrDb < aimedDb) {
      if (keptDb !== undefined) break;
      budgetDb += Math.max(aimedDb - one.sqnrDb, 1);
      continue;
    }
    keptDb = budgetDb;
    // Room that is left is worth time.
    if (isLate() || round === MAX_TIGHTENINGS || one.sqnrDb < aimedDb + MIN_ROOM_DB) break;
    budgetDb -= one.sqnrDb - aimedDb - MIN_ROOM_DB / 2;
  }
  return { budgetDb: keptDb ?? budgetDb, isKept: keptDb !== undefined };
}

/** The same where the budget is a drop of the task metric: less noise in each round until it is kept. */
export async function reachDrop({ assign, judge, hasNoise, isStopped }: Reaching, keepsBudget: (one: Contender) => boolean): Promise<Reached> {
  let budgetDb = FIRST_DROP_BUDGET_DB;
  for (let round = 0; round <= MAX_TIGHTENINGS && !isStopped(); round++) {
    const one = await judge(assign(budgetDb));
    if (!one || !hasNoise) break;
    if (keepsBudget(one)) return { budgetDb, isKept: true };
    budgetDb += DROP_STEP_DB;
  }
  return { budgetDb, isKept: false };
}
