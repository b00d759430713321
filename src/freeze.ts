import { modelInputs } from './data/model-inputs.js';
import { frozenText, withFrozen, type FrozenValues } from './data/frozen-inputs.js';
import type { Model } from './graph/model.js';
import { freezeInputs } from './passes/freeze-inputs.js';
import type { PassResult } from './passes/pass.js';
import { elementTexts } from './tensor/parse-tensor.js';

type FreezeValue = string | number | bigint | boolean;

/** Values that inputs are frozen at, by name: one, or all elements in order. */
export type FreezeOption = Readonly<Record<string, FreezeValue | readonly FreezeValue[]>>;

/** A model whose inputs are frozen. */
export interface FrozenModel extends PassResult {
  /** The values in one notation, for what is bound to them; undefined where nothing is frozen. */
  readonly frozen: FrozenValues | undefined;
}

/** Freezes inputs of a model; the model itself where none is named. Throws QdqError `usage` for unknown inputs, and values that they cannot take. */
export function freezeModel(model: Model, option: FreezeOption = {}): FrozenModel {
  const texts = Object.entries(option).map(([name, value]) => [name, [value].flat().map(String)] as const);
  if (texts.length === 0) return { model, changes: [], frozen: undefined };
  const inputs = withFrozen(modelInputs(model.graph), Object.fromEntries(texts));
  const values = new Map(inputs.flatMap(({ name, frozen }) => (frozen ? [[name, frozen] as const] : [])));
  const frozen = Object.fromEntries([...values].map(([name, tensor]) => [name, elementTexts(tensor)]));
  const { model: result, changes } = freezeInputs(model, values);
  return { model: result, frozen, changes: changes.map((change) => ({ ...change, message: `${frozenText(pick(frozen, change.names))}: ${change.message}` })) };
}

function pick(values: FrozenValues, names: readonly string[]): FrozenValues {
  return Object.fromEntries(names.map((name) => [name, values[name]!]));
}
