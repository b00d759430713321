import { stat } from 'node:fs/promises';
import { modelInputs, type ModelInput } from '../data/model-inputs.js';
import { constantBytes } from '../graph/constant-bytes.js';
import { readStaged, type StagedModel } from '../runtime/staged-model.js';

/** What judging and timing must know of a model to feed it. */
export interface ModelFacts {
  readonly inputs: readonly ModelInput[];
  /** Bytes of its constants. */
  readonly constantBytes: number;
}

/** Those of the model that was asked for last, and what they hold for. */
let last: { readonly key: string; readonly facts: ModelFacts } | undefined;

/** The facts of a model; it is read once for all tasks in a row that ask, as long as its file stays as it is. */
export async function modelFacts(model: StagedModel): Promise<ModelFacts> {
  const { mtimeMs, size } = await stat(model.path);
  const key = JSON.stringify([model, mtimeMs, size]);
  if (last?.key === key) return last.facts;
  const { graph } = await readStaged(model);
  const facts = { inputs: modelInputs(graph), constantBytes: constantBytes(graph) };
  last = { key, facts };
  return facts;
}
