import type { Tensor } from '../tensor/tensor.js';
import { Session } from './session.js';
import type { SessionOptions } from './session-options.js';

/** One node as it ran. */
export interface ProfiledNode {
  readonly name: string;
  readonly opType: string;
  /** Times of its runs in milliseconds, in order. */
  readonly timesMs: number[];
  /** Shapes of the inputs and outputs of its last run, with their element types as the runtime names them. */
  readonly inputs: readonly ProfiledValue[];
  readonly outputs: readonly ProfiledValue[];
}

/** A value that a node received or made. */
export interface ProfiledValue {
  readonly type: string;
  readonly dims: readonly number[];
}

interface TraceEvent {
  readonly cat?: string;
  readonly name?: string;
  /** Begin and duration in microseconds. */
  readonly ts?: number;
  readonly dur?: number;
  readonly args?: { readonly op_name?: string; readonly input_type_shape?: TraceShapes; readonly output_type_shape?: TraceShapes };
}

type TraceShapes = readonly Readonly<Record<string, readonly number[]>>[];

const SUFFIX = '_kernel_time';

/** Operators whose time the trace tells with that of the nodes in their bodies. */
const WITH_BODIES: ReadonlySet<string> = new Set(['If', 'Loop', 'Scan']);

/**
 * Runs a model on feeds in turn with the runtime's profiler on and returns what each node took. The first `warmup` runs do not count.
 * `scratchPrefix` is a path prefix for the trace, which is removed.
 */
export async function profileRuns(
  bytes: Uint8Array,
  feeds: readonly ReadonlyMap<string, Tensor>[],
  options: Pick<SessionOptions, 'runtime' | 'threads' | 'externalDataFolder'> & { readonly runs: number; readonly warmup: number; readonly scratchPrefix: string },
): Promise<ProfiledNode[]> {
  const { runs, warmup, scratchPrefix, ...settings } = options;
  const session = await Session.open(bytes, { ...settings, profilePrefix: scratchPrefix });
  const converted = feeds.map((sample) => session.toFeeds(sample));
  for (let run = 0; run < warmup + runs; run++) await session.runRaw(converted[run % converted.length]!);
  const trace = await session.endProfiling();
  await session.release();
  const nodes = new Map<string, ProfiledNode>();
  for (const { event, ownMs } of ownTimes((trace ? JSON.parse(trace) : []) as TraceEvent[])) {
    const name = event.name!.slice(0, -SUFFIX.length);
    const timesMs = nodes.get(name)?.timesMs ?? [];
    timesMs.push(ownMs);
    const { op_name: opType = '', input_type_shape: inputs = [], output_type_shape: outputs = [] } = event.args ?? {};
    nodes.set(name, { name, opType, timesMs, inputs: inputs.map(profiledValue), outputs: outputs.map(profiledValue) });
  }
  return [...nodes.values()].map((node) => ({ ...node, timesMs: node.timesMs.slice(warmedUp(node.timesMs.length, options)) }));
}

/** Runs of nodes, each without the time of the nodes in its body, which have their own. */
function ownTimes(trace: readonly TraceEvent[]): { readonly event: TraceEvent; readonly ownMs: number }[] {
  const runs = trace
    .filter(({ cat, name, dur }) => cat === 'Node' && name?.endsWith(SUFFIX) && dur !== undefined)
    .map((event) => ({ event, begin: event.ts ?? 0, end: (event.ts ?? 0) + event.dur!, ownMs: event.dur! / 1000 }))
    .sort((a, b) => a.begin - b.begin || b.end - a.end);
  const open: typeof runs = [];
  for (const run of runs) {
    while (open.length > 0 && open.at(-1)!.end <= run.begin) open.pop();
    const around = open.at(-1);
    if (around) around.ownMs = Math.max(0, around.ownMs - run.event.dur! / 1000);
    if (WITH_BODIES.has(run.event.args?.op_name ?? '')) open.push(run);
  }
  return runs;
}

/** Index of a node's first run after the warm-up. A node inside a body may run several times, or not at all, in one run of the model. */
function warmedUp(count: number, { runs, warmup }: { readonly runs: number; readonly warmup: number }): number {
  return Math.floor((count * warmup) / (runs + warmup));
}

function profiledValue(entry: Readonly<Record<string, readonly number[]>>): ProfiledValue {
  const [[type, dims] = ['', []]] = Object.entries(entry);
  return { type, dims };
}
