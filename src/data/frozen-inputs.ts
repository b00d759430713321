import { QdqError } from '../errors.js';
import { hasTextForm, parseTensor } from '../tensor/parse-tensor.js';
import { elementCount, type Tensor } from '../tensor/tensor.js';
import { describeInput, listInputs, type ModelInput } from './model-inputs.js';

/** Inputs that were given a value for good: their elements as text, by name. Plain data, which records and tables bind. */
export type FrozenValues = Readonly<Record<string, readonly string[]>>;

/** The inputs, some with the value that they are frozen at. Throws QdqError `usage` for unknown names, and for values that an input cannot take. */
export function withFrozen(inputs: readonly ModelInput[], values: FrozenValues = {}): readonly ModelInput[] {
  for (const name of Object.keys(values)) {
    if (!inputs.some((input) => input.name === name)) throw new QdqError('usage', `--freeze names "${name}", expected ${listInputs(inputs)}`);
  }
  return inputs.map((input) => (values[input.name] ? { ...input, frozen: frozenTensor(input, values[input.name]!) } : input));
}

/** The inputs whose values only samples know. */
export function freeInputs(inputs: readonly ModelInput[]): readonly ModelInput[] {
  return inputs.filter(({ frozen }) => !frozen);
}

function frozenTensor(input: ModelInput, texts: readonly string[]): Tensor {
  const said = `--freeze ${input.name}=${texts.slice(0, 8).join(',')}`;
  if (!hasTextForm(input.dtype)) throw new QdqError('usage', `${said}: ${describeInput(input)} cannot be frozen`, 'Integers, bool, float32 and float64 can be.');
  const dims = dimsFor(input, texts.length);
  if (!dims) throw new QdqError('usage', `${said}: ${describeInput(input)} cannot be filled from ${texts.length === 1 ? 'one value' : `${texts.length} values`}`, 'Give one value for each element, with commas between.');
  const tensor = parseTensor(input.dtype, dims, texts);
  if (!tensor) throw new QdqError('usage', `${said}: expected ${/^u?int/.test(input.dtype) ? `integers that fit ${input.dtype}` : input.dtype === 'bool' ? 'true or false' : 'numbers'} for ${describeInput(input)}`);
  return tensor;
}

/** Dimensions of so many elements: the first open one takes what the declared ones leave, the others are 1. */
function dimsFor({ shape }: ModelInput, count: number): readonly number[] | undefined {
  if (!shape) return count === 1 ? [] : [count];
  const rest = count / elementCount(shape.filter((dim) => typeof dim === 'number'));
  const open = shape.findIndex((dim) => typeof dim !== 'number');
  if (count === 0 || !Number.isInteger(rest) || (open < 0 && rest !== 1)) return undefined;
  return shape.map((dim, axis) => (typeof dim === 'number' ? dim : axis === open ? rest : 1));
}

/** Frozen values in words, the same for the same values. */
export function frozenText(values: FrozenValues = {}): string {
  const texts = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, elements]) => `--freeze ${name}=${elements.join(',')}`);
  return texts.join(' ') || 'no --freeze';
}
