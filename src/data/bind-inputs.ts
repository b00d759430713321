import { QdqError } from '../errors.js';
import { elementCount, tensorFromArray, typedArrayOf, type Tensor } from '../tensor/tensor.js';
import { numbersOf } from '../tensor/values.js';
import { describeType, fitsShape, listInputs, type ModelInput } from './model-inputs.js';
import type { InputTensors } from './sample.js';

/**
 * The tensors as the model takes them, in the order of its inputs. float64 is rounded to float32, and int32 and int64 become
 * each other where all values fit; nothing else is converted. Frozen inputs may be left out. `where` names the sample in messages.
 * Throws QdqError `data-invalid` for wrong names, types and shapes, and for other values than inputs are frozen at.
 */
export function bindInputs(received: InputTensors, inputs: readonly ModelInput[], where: string): InputTensors {
  checkNames([...received.keys()], inputs, where);
  return new Map(inputs.map((input) => [input.name, bindInput(received.get(input.name) ?? input.frozen!, input, where)]));
}

function checkNames(received: readonly string[], inputs: readonly ModelInput[], where: string): void {
  const missing = inputs.filter(({ name, frozen }) => !frozen && !received.includes(name));
  const unknown = received.filter((name) => !inputs.some((input) => input.name === name));
  if (!missing.length && !unknown.length) return;
  const names = listInputs(received.map((name) => ({ name })));
  const problem = missing.length
    ? `no array for input ${listInputs(missing)}`
    : `the model has no input ${listInputs(unknown.map((name) => ({ name })))}`;
  throw new QdqError(
    'data-invalid',
    `${where}: ${problem}; expected ${listInputs(inputs)}, received ${names}`,
    'name the arrays as the model names its inputs: np.savez(path, **{name: array})',
  );
}

function bindInput(tensor: Tensor, input: ModelInput, where: string): Tensor {
  const converted = convert(tensor, input);
  const { dims } = tensor;
  if (converted && fitsShape(dims, input.shape)) {
    if (input.frozen && !isEqual(converted, input.frozen)) throw notFrozen(converted, input.frozen, input, where);
    return converted;
  }
  throw new QdqError(
    'data-invalid',
    `${where}: input "${input.name}" expects ${describeType(input.dtype, input.shape)}, received ${describeType(tensor.dtype, dims)}`,
    converted ? shapeHint(dims, input) : typeHint(tensor, input),
  );
}

function isEqual(a: Tensor, b: Tensor): boolean {
  return elementCount(a.dims) === elementCount(b.dims) && numbersOf(a).every((value, i) => value === numbersOf(b)[i]);
}

function notFrozen(received: Tensor, frozen: Tensor, { name }: ModelInput, where: string): QdqError {
  const text = (tensor: Tensor) => [...typedArrayOf(tensor).slice(0, 8)].join(', ');
  return new QdqError('data-invalid', `${where}: input "${name}" is frozen at ${text(frozen)}, received ${text(received)}`, 'Leave such samples out, or make a model for each value.');
}

/** The tensor in the input's type; undefined where that would lose more than rounding. */
function convert(tensor: Tensor, { dtype }: ModelInput): Tensor | undefined {
  if (tensor.dtype === dtype || dtype === 'unknown') return tensor;
  const { dims } = tensor;
  if (tensor.dtype === 'float64' && dtype === 'float32') {
    return tensorFromArray(dtype, dims, Float32Array.from(typedArrayOf(tensor) as Float64Array));
  }
  if (tensor.dtype === 'int32' && dtype === 'int64') {
    return tensorFromArray(dtype, dims, BigInt64Array.from(typedArrayOf(tensor) as Int32Array, BigInt));
  }
  if (tensor.dtype === 'int64' && dtype === 'int32') {
    const wide = typedArrayOf(tensor) as BigInt64Array;
    const fits = wide.every((value) => BigInt.asIntN(32, value) === value);
    return fits ? tensorFromArray(dtype, dims, Int32Array.from(wide, Number)) : undefined;
  }
  return undefined;
}

function typeHint(tensor: Tensor, { dtype }: ModelInput): string {
  if (tensor.dtype === 'int64' && dtype === 'int32') return 'some values do not fit int32';
  if (tensor.dtype === 'uint8' && dtype === 'float32') return 'scale the pixels as for training, or give the pictures themselves';
  return `convert the array first: array.astype(np.${dtype === 'bool' ? 'bool_' : dtype})`;
}

function shapeHint(dims: readonly number[], { shape = [] }: ModelInput): string {
  if (dims.length === shape.length && fitsShape(dims.slice(1), shape.slice(1))) {
    return shape[0] === 1 ? 'if axis 0 carries the samples, give --stacked' : `each run takes exactly ${shape[0]} rows`;
  }
  if (dims.length + 1 === shape.length && fitsShape(dims, shape.slice(1))) return 'the batch axis is missing: array[np.newaxis]';
  const transposed = [[0, 3, 1, 2], [0, 2, 3, 1]].find((axes) => dims.length === 4 && fitsShape(axes.map((axis) => dims[axis]!), shape));
  if (transposed) return `the layout differs: array.transpose(${transposed.join(', ')})`;
  if (dims.length === shape.length + 1) return 'if axis 0 carries the samples, give --stacked';
  return 'the model fixes these dimensions: prepare the data as for training';
}
