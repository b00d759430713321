import { QdqError } from '../errors.js';
import type { Dim, Graph } from '../graph/model.js';
import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

/** What a model expects at one input. Plain data. */
export interface ModelInput {
  readonly name: string;
  readonly dtype: DType;
  /** Absent where the model declares no rank. */
  readonly shape?: readonly Dim[];
  /** What each sample has to feed, and what those are completed with that lack it; set where data are opened. */
  readonly frozen?: Tensor;
}

/** The inputs that a caller must feed: those of the graph that have no initializer, in order. */
export function modelInputs(graph: Graph): ModelInput[] {
  const constants = new Set([...graph.initializers.keys(), ...graph.sparseInitializers]);
  return graph.inputs
    .filter(({ name }) => !constants.has(name))
    .map(({ name, type }) => {
      if (type.kind !== 'tensor') {
        throw new QdqError('model-invalid', `input "${name}" takes ${/^o/.test(type.kind) ? 'an' : 'a'} ${type.kind}, expected a tensor`, 'qdq feeds tensors only');
      }
      return { name, dtype: type.dtype, ...(type.shape && { shape: type.shape }) };
    });
}

/** The inputs with their open dimensions fixed by `shapes`; throws QdqError `usage` where a shape does not fit. */
export function withShapes(inputs: readonly ModelInput[], shapes: Readonly<Record<string, readonly number[]>> = {}): readonly ModelInput[] {
  for (const name of Object.keys(shapes)) {
    if (!inputs.some((input) => input.name === name)) {
      throw new QdqError('usage', `--shape names "${name}", expected ${listInputs(inputs)}`);
    }
  }
  return inputs.map((input) => {
    const shape = shapes[input.name];
    if (!shape) return input;
    if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0) || !fitsShape(shape, input.shape)) {
      throw new QdqError('usage', `--shape ${input.name}=${shape.join(',')} does not fit ${describeInput(input)}`);
    }
    return { ...input, shape };
  });
}

/** Whether a tensor of these dimensions is one that `shape` allows. */
export function fitsShape(dims: readonly number[], shape: readonly Dim[] | undefined): boolean {
  return !shape || (shape.length === dims.length && shape.every((dim, axis) => typeof dim !== 'number' || dim === dims[axis]));
}

/** A type and shape in words, such as `float32[N,3,224,224]`; `?` stands for what is not declared. */
export function describeType(dtype: DType, shape: readonly Dim[] | undefined): string {
  return shape ? `${dtype}[${shape.map((dim) => dim ?? '?').join(',')}]` : `${dtype}, any shape`;
}

/** An input in words. */
export function describeInput(input: ModelInput): string {
  return `input "${input.name}" ${describeType(input.dtype, input.shape)}`;
}

/** The names of inputs in words. */
export function listInputs(inputs: readonly { readonly name: string }[]): string {
  return inputs.length ? inputs.map(({ name }) => `"${name}"`).join(', ') : 'none';
}
