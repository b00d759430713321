import { readFile } from 'node:fs/promises';
import type { FrozenValues } from '../data/frozen-inputs.js';
import { QdqError, messageOf } from '../errors.js';
import type { Model } from '../graph/model.js';
import { withBiases, type Biases } from '../quantization/bias-correction.js';
import type { DynamicOptions } from '../quantization/dynamic-plan.js';
import type { QuantizationPlan } from '../quantization/plan.js';
import { migrateScales, migrationSites, type SiteScales } from '../quantization/scale-migration.js';
import type { ValueTypes } from '../quantization/select.js';
import { carryOut, type OtherNode, type PlannedModel } from './planner.js';
import type { SearchCandidate } from './search-result.js';

/** Name and version of the record's form. */
export const RECORD_SCHEMA = 'qdq.record/1';

/** Key of the model's metadata under which the decisions stand in short. */
export const METADATA_KEY = 'qdq.plan';

/** What was decided about a model, so that the same file can be made again without measuring. */
export interface PlanRecord {
  readonly schema: typeof RECORD_SCHEMA;
  /** Version of qdq. */
  readonly version: string;
  /** SHA-256 (hex) of the float model, and the values that its inputs were frozen at; absent where none were. */
  readonly model: { readonly sha256: string; readonly frozen?: FrozenValues };
  /** What was tried to find it; empty where nothing was. */
  readonly candidates: readonly SearchCandidate[];
  /** Static part: what becomes of each node, and scales. */
  readonly plan: QuantizationPlan;
  /** Scales that were moved from activations into weights; absent where none were. */
  readonly migration?: readonly SiteScales[];
  /** Biases that were corrected, by node name. */
  readonly biases: Biases;
  /** Nodes in other forms than static, by node name. */
  readonly others: Readonly<Record<string, OtherNode>>;
  /** Whether nodes in bodies of control flow are quantized dynamically, but for those that `keptInBodies` names with the reason. */
  readonly bodies: boolean;
  readonly keptInBodies: Readonly<Record<string, string>>;
  readonly dynamicOptions: DynamicOptions;
  /** The model is written as it came in: nothing wins, and clean-up would have made it larger. */
  readonly asItCame?: boolean;
}

/** The model that a record describes, of a float model and its form after clean-up, with the types of its values. Throws `plan-mismatch` where it was made for other nodes. */
export function replay(original: Model, { model: clean, types }: { readonly model: Model; readonly types: ValueTypes }, record: PlanRecord): ReturnType<typeof carryOut> {
  const float = record.migration ? migrateScales(clean, migrationSites(clean.graph, types), record.migration).model : clean;
  const nodes = float.graph.nodes.map(({ name }) => name);
  if (nodes.length !== record.plan.nodes.length || record.plan.nodes.some(({ name }, i) => name !== nodes[i])) {
    throw new QdqError('plan-mismatch', 'the plan names other nodes than this model has after clean-up', 'Make the plan again with this version of qdq.');
  }
  const planned = { model: withBiases(float, record.biases), plan: record.plan, others: new Map(Object.entries(record.others)), dynamicOptions: record.dynamicOptions };
  const { model, plan } = carryOut(planned, record.bodies ? (node) => record.keptInBodies[node.name] : undefined);
  return { model: withSummary(record.asItCame ? original : model, record), plan };
}

/** What a record says of a planned model. */
export function recordOf(planned: PlannedModel, more: Pick<PlanRecord, 'version' | 'model' | 'candidates' | 'bodies' | 'keptInBodies' | 'asItCame'>): PlanRecord {
  const { plan, biases, others, dynamicOptions, migration } = planned;
  return { schema: RECORD_SCHEMA, ...more, plan, ...(migration && { migration: migration.scales }), biases, others: Object.fromEntries(others), dynamicOptions };
}

/** The model with the decisions of a search in short among its metadata; the model itself where there was none. */
export function withSummary(model: Model, { candidates, version, model: { sha256 }, plan, biases, others, migration }: PlanRecord): Model {
  if (candidates.length === 0) return model;
  const count = (decision: string) => plan.nodes.filter((node) => node.decision === decision).length;
  const forms = Object.values(others).map(({ form }) => form);
  const summary = {
    version,
    model: sha256,
    target: plan.target,
    ranges: plan.method,
    nodes: { static: count('quantized'), float: count('float') - forms.length, dynamic: forms.filter((form) => form === 'dynamic').length, blocks: forms.filter((form) => form === 'blocks').length, stored: forms.filter((form) => form === 'stored').length },
    correctedBiases: Object.keys(biases).length,
    ...(migration && { movedScales: migration.length }),
  };
  return { ...model, metadata: new Map([...model.metadata, [METADATA_KEY, JSON.stringify(summary)]]) };
}

/** The text of a record's file. */
export function recordText(record: PlanRecord): string {
  return `${JSON.stringify(record, null, 1)}\n`;
}

/** Reads a record. Throws `file-not-found`, or `plan-mismatch` where it is none or is for another model. */
export async function readRecord(path: string, sha256: string): Promise<PlanRecord> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new QdqError('file-not-found', `${path} cannot be read: ${messageOf(cause)}`, 'Check the path given to --plan.', { cause });
  }
  const record = parse(text);
  if (record?.schema !== RECORD_SCHEMA) {
    throw new QdqError('plan-mismatch', `${path} is no plan: expected JSON with "schema": "${RECORD_SCHEMA}"`, 'Name a file that qdq quantize --plan-out wrote.');
  }
  if (record.model?.sha256 !== sha256) {
    throw new QdqError('plan-mismatch', `${path} was made for another model: for SHA-256 ${record.model?.sha256 ?? '(none)'}, not ${sha256}`, 'Give the model that it was made for, or make a plan for this one with --plan-out.');
  }
  return record as PlanRecord;
}

function parse(text: string): Partial<PlanRecord> | null {
  try {
    const content: unknown = JSON.parse(text);
    return typeof content === 'object' ? content : null;
  } catch {
    return null;
  }
}
