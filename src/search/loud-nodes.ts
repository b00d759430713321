/** Nodes that are judged one by one at most, a session each. */
const MAX_JUDGED_ALONE = 12;

/** Noise that such nodes may come to where all else makes more than is allowed, as a multiple of that. */
const QUIET_SHARE = 1.25;

/** What loud nodes are found by. Noises are powers relative to the signal. */
export interface LoudnessOfNodes {
  /** What all else makes, and what may be made in all. */
  readonly rest: number;
  readonly allowed: number;
  /** Quality in dB with each of the nodes alone in the form in question, in the order of their names. */
  readonly judgeAlone: (names: readonly string[]) => Promise<readonly number[]>;
  /** Whether a node is loud whatever else there is. */
  readonly isLoud?: (noise: number) => boolean;
}

/** Those of nodes that, quietest first, do not go together into what is allowed. All of them where they are too many to be judged one by one. */
export async function loudNodes(names: readonly string[], { rest, allowed, judgeAlone, isLoud = () => false }: LoudnessOfNodes): Promise<string[]> {
  if (names.length < 2 || names.length > MAX_JUDGED_ALONE) return [...names];
  const alone = (await judgeAlone(names)).map((sqnrDb, i) => ({ name: names[i]!, noise: Math.max(0, 10 ** (-sqnrDb / 10) - rest) }));
  const most = Math.max(allowed, rest * QUIET_SHARE);
  let sum = rest;
  return alone
    .sort((a, b) => a.noise - b.noise)
    .flatMap(({ name, noise }) => {
      sum += noise;
      return sum > most || isLoud(noise) ? [name] : [];
    });
}
