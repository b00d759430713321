import { constantBytes } from '../graph/constant-bytes.js';
import type { Change } from '../passes/pass.js';
import type { Choices, OtherNode, PlannedModel, Planner } from './planner.js';
import { judgeModels, type TrialJob, type TrialRun } from './trials.js';

/** Share of a model's constants that tables must have to be worth the DequantizeLinear after each lookup. */
const MIN_SHARE = 0.05;

/** What tables of integers may cost at the worst output where less than `enoughDb` is left. */
const MAX_LOSS_DB = 1;

/** Tables that are stored as integers. */
export interface StoredTables {
  readonly choices: Choices;
  readonly change: Change;
}

/**
 * Stores the tables that a static model looks rows up in as integers, which is most of the file of a text model. Undefined where they are few, or
 * where the error at the worst output grows by more than a little and leaves less than `enoughDb`.
 */
export async function tryTables(job: TrialJob, planner: Planner, choices: Choices, plan: (choices: Choices) => PlannedModel, enoughDb: number, run: TrialRun): Promise<StoredTables | undefined> {
  const lookups = planner.tables();
  const { initializers } = planner.float.graph;
  const tables = new Set(lookups.map(({ inputs }) => inputs[0]!));
  const bytes = [...tables].reduce((sum, name) => sum + (initializers.get(name)?.storage.byteLength ?? 0), 0);
  if (bytes === 0 || bytes < MIN_SHARE * constantBytes(planner.float.graph)) return undefined;
  const reason = 'its table is stored in s8 and dequantized after the lookup';
  const others = new Map<string, OtherNode>([...choices.others, ...lookups.map(({ name }) => [name, { form: 'dynamic', reason }] as const)]);
  const stored = { ...choices, others };
  const [before, after] = await judgeModels(job, [choices, stored].map((one) => planner.quantize(plan(one)).model), run);
  if (after!.sqnrDb < Math.min(enoughDb, before!.sqnrDb - MAX_LOSS_DB)) return undefined;
  const message = `${tables.size} ${tables.size === 1 ? 'table is' : 'tables are'} stored in s8, ${(bytes / 1e6).toFixed(1)} MB of floats less three quarters: ${before!.sqnrDb.toFixed(1)} → ${after!.sqnrDb.toFixed(1)} dB`;
  return { choices: stored, change: { pass: 'tables', names: lookups.map(({ name }) => name), message } };
}
