import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { QdqError, messageOf } from '../errors.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { arrayConstructor, memoryStorage, tensorFromArray, typedArrayOf, type Tensor, type TypedArray } from '../tensor/tensor.js';
import type { Binding } from './binding.js';
import { loadNodeBinding } from './node-binding.js';
import type { RuntimeName } from './runtime-names.js';
import type { SessionOptions } from './session-options.js';
import { loadWebBinding } from './web-binding.js';

export type { Optimization, SessionOptions } from './session-options.js';

/** A value that a session takes or gives. */
export interface SessionValue {
  readonly name: string;
  /** `unknown` where the value is no tensor. */
  readonly dtype: DType;
  readonly shape: readonly (number | string)[];
}

const bindings = new Map<RuntimeName, Binding>();

async function bindingOf(runtime: RuntimeName): Promise<Binding> {
  const binding = bindings.get(runtime) ?? (runtime === 'web' ? await loadWebBinding() : loadNodeBinding());
  bindings.set(runtime, binding);
  return binding;
}

/** Loads the library of onnxruntime-node ahead of the first session. */
export async function preloadRuntime(): Promise<void> {
  await bindingOf('node');
}

/** A loaded model. Belongs into the runtime's child process: `run` blocks the event loop. */
export class Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  readonly #session: InferenceSession;
  readonly #binding: Binding;
  readonly #options: SessionOptions;
  /** Outputs to ask for where the model has others too: the binding refuses a run that gives a sequence or a map. */
  readonly #tensorOutputs: readonly string[] | undefined;

  private constructor(session: InferenceSession, binding: Binding, options: SessionOptions) {
    this.#session = session;
    this.#binding = binding;
    this.#options = options;
    this.inputs = session.inputMetadata.map(sessionValue);
    this.outputs = session.outputMetadata.map(sessionValue);
    const tensors = this.outputs.filter(({ dtype }) => dtype !== 'unknown').map(({ name }) => name);
    this.#tensorOutputs = tensors.length < this.outputs.length ? tensors : undefined;
  }

  /**
   * Loads a model from a file or from bytes. Throws `runtime-rejected` or `operator-missing` with the runtime's own words, and
   * `runtime-missing` where an optional runtime is not installed.
   */
  static async open(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const binding = await bindingOf(options.runtime ?? 'node');
    try {
      return new Session(await binding.open(model, options), binding, options);
    } catch (error) {
      throw error instanceof QdqError ? error : rejection(error, options);
    }
  }

  /** Runs once. `fetch` names the outputs wanted (all, where absent). Outputs are tensors; others are left out. */
  async run(feeds: ReadonlyMap<string, Tensor>, fetch?: readonly string[]): Promise<Map<string, Tensor>> {
    const outputs = await this.runRaw(this.toFeeds(feeds), fetch);
    return new Map(
      Object.entries(outputs).flatMap(([name, value]) => {
        const tensor = fromOrt(value);
        return tensor ? [[name, tensor] as const] : [];
      }),
    );
  }

  /**
   * Runs once and hands over each output tensor, letting go of it after `visit` so that its memory can be given back while others
   * are still looked at; tensors that are kept stay valid. `fetch` names the outputs wanted. Returns the time in the runtime, in milliseconds.
   */
  async runAndVisit(feeds: ReadonlyMap<string, Tensor>, visit: (name: string, tensor: Tensor) => void, fetch?: readonly string[]): Promise<number> {
    const start = performance.now();
    const outputs = await this.runRaw(this.toFeeds(feeds), fetch);
    const durationMs = performance.now() - start;
    for (const [name, value] of Object.entries(outputs)) {
      const tensor = fromOrt(value);
      if (!tensor) continue;
      visit(name, tensor);
      value.dispose();
    }
    return durationMs;
  }

  /** `run` without conversions, for loops that are timed or that dispose of outputs themselves. */
  async runRaw(feeds: Record<string, OrtTensor>, fetch = this.#tensorOutputs): Promise<Record<string, OrtTensor>> {
    try {
      return fetch ? await this.#session.run(feeds, [...fetch]) : await this.#session.run(feeds);
    } catch (error) {
      throw rejection(error, this.#options);
    }
  }

  /** Converts feeds once, so that a sample can be run many times, by this and other sessions of the same runtime. */
  toFeeds(feeds: ReadonlyMap<string, Tensor>): Record<string, OrtTensor> {
    return Object.fromEntries([...feeds].map(([name, tensor]) => [name, toOrt(this.#binding, tensor)]));
  }

  /** Ends the profile that `profilePrefix` began and returns its trace as JSON text. */
  async endProfiling(): Promise<string> {
    return this.#binding.endProfiling(this.#session, this.#options);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

function toOrt(binding: Binding, tensor: Tensor): OrtTensor {
  const dims = [...tensor.dims];
  if (tensor.dtype === 'string') return new binding.Tensor('string', [...(tensor.strings ?? [])], dims);
  // The binding takes typed arrays of its own choice of class for each type.
  const data = typedArrayOf(tensor) as Float32Array;
  const value = new binding.Tensor(tensor.dtype as 'float32', data, dims);
  // From Node 24 on it wraps float16 in a Float16Array, which its own native side (1.30) takes for empty.
  return value.data === data ? value : Object.defineProperty(value, 'data', { value: data });
}

function fromOrt(value: OrtTensor): Tensor | undefined {
  // Sequences and maps come as they are, without dimensions.
  if (!('dims' in value)) return undefined;
  const dtype = value.type as DType;
  if (dtype === 'string') {
    return { dtype, dims: value.dims, storage: memoryStorage(new Uint8Array()), strings: value.data as string[] };
  }
  const data = value.data as TypedArray;
  const array = data instanceof arrayConstructor(dtype) ? data : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return tensorFromArray(dtype, value.dims, array);
}

/** onnxruntime-web tells a dimension without a name and a size as −1 in 32 bits, onnxruntime-node as an empty name. */
const asDim = (dim: number | string) => (dim === 2 ** 32 - 1 ? '' : dim);

function sessionValue(metadata: InferenceSession.ValueMetadata): SessionValue {
  return metadata.isTensor
    ? { name: metadata.name, dtype: dtypeInfo(metadata.type).code ? metadata.type : 'unknown', shape: metadata.shape.map(asDim) }
    : { name: metadata.name, dtype: 'unknown', shape: [] };
}

/** File, line and function in the runtime's source, and status codes, which it puts before what it has to say. */
const SOURCE_PLACE = /\/\S+\.(?:cc|h):\d+ [^()]*\([^()]*\) (?:const )?|\w+\.(?:cc|h):\d+ \w+ |\[ONNXRuntimeError\] : \d+ : \w+ : /g;

/**
 * How the runtime says that it lacks an operator or a kernel: domain, operator and, where it says so, node.
 * Source: core/graph/graph.cc and core/framework/session_state.cc of onnxruntime.
 */
const MISSING_OPERATOR = [
  /(?<domain>[^\s:]*):(?<opType>\w+)\(-?\d+\) is not a registered function\/op/,
  /No Op registered for (?<opType>\w+) with domain_version of/,
  /Could not find an implementation for (?<opType>\w+)\(\d+\) node with name '(?<node>[^']*)'/,
];

/** How its integer operators refuse a scale of shape [1], as exporters write it. Source: ValidateTypeAndShapeForScaleAndZP in core/graph/contrib_ops. */
const VECTOR_PARAMETERS = /Scale and Zero-point must be a scalar/i;

/** Shortens the runtime's message to its last, telling part, in one line. */
function rejection(error: unknown, { runtime }: SessionOptions): QdqError {
  const speaker = runtime === 'web' ? 'onnxruntime-web' : 'onnxruntime';
  const whole = messageOf(error);
  const text = whole
    .replace(/^.*?(?=Load model|Fatal|Failed|Non-zero|Invalid|Got|Unexpected|Missing|This is)/s, '')
    .replace(SOURCE_PLACE, '')
    .replace(/\s+/g, ' ')
    .trim();
  const missing = MISSING_OPERATOR.map((pattern) => pattern.exec(whole)?.groups).find(Boolean);
  if (missing) {
    const { domain, opType, node } = missing;
    const name = domain && domain !== 'ai.onnx' ? `${domain}.${opType}` : opType;
    return new QdqError(
      'operator-missing',
      `${speaker}: it has no kernel for the operator ${name}${node ? ` of node "${node}"` : ''} (${text || whole})`,
      'What runs the model (samples, measurements) cannot go on with it; without --data its weights can still be quantized.',
      { cause: error },
    );
  }
  const hint = VECTOR_PARAMETERS.test(whole)
    ? 'The model has scales of shape [1] that onnxruntime wants as scalars once it fuses Q/DQ; `qdq quantize --mode qat` writes one that loads, with the same scales.'
    : 'onnxruntime refused the model or its input; the words above are its own.';
  return new QdqError('runtime-rejected', `${speaker}: ${text || whole}`, hint, { cause: error });
}
