import { compare, comparisonsOf } from '../../src/compare.js';
import { QdqError } from '../../src/errors.js';
import { medianRatioInterval, statsOf, type MedianInterval } from '../../src/metrics/statistics.js';
import { askPeer, type Peer } from './peer.js';

/** Samples that judge: a folder of npz files, and which half of it. */
export interface JudgingData {
  readonly folder: string;
  readonly split?: 'even' | 'odd';
}

/** What a candidate is beside its float original. */
export interface Judgement {
  /** Compute nodes of the float model as the runtime fused it. */
  readonly compute: number;
  readonly integer: number;
  /** Compute nodes that multiply floats, by operator. */
  readonly float: Readonly<Record<string, number>>;
  /** Those among them that read a constant matrix; null where that was not counted. */
  readonly floatWeighted: number | null;
  /** Q and DQ nodes left after fusion. */
  readonly qdq: number;
  /** dB of each output; null where it is not finite. */
  readonly sqnr: readonly (number | null)[];
  /** The same where products are added exactly; null where that was not had. */
  readonly exactSqnr: readonly (number | null)[] | null;
  readonly agreement: number | null;
  readonly fp32Ms: number;
  readonly candidateMs: number;
  readonly speedup: MedianInterval | null;
  readonly sizeRatio: number;
}

/** A candidate that does not load or run. */
export interface Failure {
  readonly fail: string;
}

interface JudgedLine extends Omit<Judgement, 'fp32Ms' | 'candidateMs' | 'speedup'> {
  readonly times: readonly [readonly number[], readonly number[]];
}

/** Judges candidates: by peers/judge.py where there is a peer, otherwise by qdq's own `compare`. */
export async function judge(peer: Peer | undefined, fp32: string, candidates: readonly string[], data: JudgingData, seconds = 3): Promise<(Judgement | Failure)[]> {
  if (candidates.length === 0) return [];
  if (!peer) {
    const judged = [];
    for (const candidate of candidates) judged.push(await judgeOurselves(fp32, candidate, data));
    return judged;
  }
  const split = data.split ? ['--split', data.split] : [];
  const lines = await askPeer<JudgedLine | Failure>(peer, 'judge.py', [fp32, data.folder, ...candidates, ...split, '--seconds', String(seconds)]);
  return lines.map((line) => {
    if ('fail' in line) return line;
    const { times, ...rest } = line;
    return { ...rest, fp32Ms: statsOf(times[0])!.median, candidateMs: statsOf(times[1])!.median, speedup: medianRatioInterval(times[0], times[1]) };
  });
}

async function judgeOurselves(fp32: string, candidate: string, data: JudgingData): Promise<Judgement | Failure> {
  try {
    const result = await compare({ baseline: fp32, candidates: [candidate], data: [data.folder], split: data.split, threads: 1, runs: 200 });
    const { integer, outputs, latency, sizeRatio } = comparisonsOf(result)[0]!;
    const float: Record<string, number> = {};
    for (const { runsAs, opType } of integer.nodes) if (runsAs === 'float') float[opType] = (float[opType] ?? 0) + 1;
    return {
      compute: integer.computeNodes,
      integer: integer.integerNodes!,
      float,
      floatWeighted: null,
      qdq: integer.danglingQdqNodes!,
      sqnr: outputs.map(({ sqnrDb }) => sqnrDb),
      exactSqnr: null,
      agreement: outputs[0]?.agreement ?? null,
      fp32Ms: latency.baselineMs?.median ?? NaN,
      candidateMs: latency.candidateMs?.median ?? NaN,
      speedup: latency.speedup,
      sizeRatio,
    };
  } catch (error) {
    if (error instanceof QdqError) return { fail: error.message };
    throw error;
  }
}

/** How many compute nodes multiply floats. */
export function floatNodes({ float }: Judgement): number {
  return Object.values(float).reduce((sum, count) => sum + count, 0);
}

/** The least SQNR among outputs; −∞ where one is not finite. */
export function worst(sqnr: readonly (number | null)[]): number {
  return sqnr.reduce((least: number, value) => Math.min(least, value ?? -Infinity), Infinity);
}
