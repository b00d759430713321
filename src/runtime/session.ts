import { createRequire } from 'node:module';
import { basename } from 'node:path';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { QdqError, messageOf } from '../errors.js';
import { dtypeInfo, type DType } from '../tensor/dtype.js';
import { arrayConstructor, memoryStorage, tensorFromArray, typedArrayOf, type Tensor, type TypedArray } from '../tensor/tensor.js';

/** How far onnxruntime rewrites the graph; Q/DQ fuse from `extended` on. */
export type Optimization = 'disabled' | 'basic' | 'extended' | 'all';

/** How a session is opened. */
export interface SessionOptions {
  /** Threads inside one operator; 0 lets the runtime choose one for each core. */
  readonly threads?: number;
  readonly optimization?: Optimization;
  /** Where the runtime writes the graph that it will run. */
  readonly optimizedModelPath?: string;
  /** Path prefix of the profile that `endProfiling` finishes. */
  readonly profilePrefix?: string;
  /** Runs Q/DQ as they are written, in float: separates quantization loss from kernel loss. */
  readonly simulateQdq?: boolean;
  /** Fuses s8 activations as on ARM64, where they are right; on x64 the products are slow, so only what fuses is of interest. */
  readonly fuseInt8?: boolean;
  /** Whether kernels may keep weights in forms of their own, which takes memory and makes runs faster; true where absent. */
  readonly prepack?: boolean;
  /** Folder against which external data is resolved when the model is given as bytes. */
  readonly externalDataFolder?: string;
}

/** A value that a session takes or gives. */
export interface SessionValue {
  readonly name: string;
  /** `unknown` where the value is no tensor. */
  readonly dtype: DType;
  readonly shape: readonly (number | string)[];
}

/** Initializers from this size on go to a side file of the optimized model: together they may not fit a protobuf message. */
const LARGE_INITIALIZER_BYTES = '1048576';

// onnxruntime-node is CommonJS whose ES entry would load its lazy parts at once.
// Its telemetry leaves files in the temporary folder of every process; whoever wants it sets the variable.
process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
const load = () => createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');
let runtime: typeof import('onnxruntime-node') | undefined;

/** Loads the runtime's library ahead of the first session. */
export function preloadRuntime(): void {
  runtime ??= load();
}

/** A loaded model. Belongs into the runtime's child process: `run` blocks the event loop. */
export class Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  readonly #session: InferenceSession;
  /** Outputs to ask for where the model has others too: the binding refuses a run that gives a sequence or a map. */
  readonly #tensorOutputs: readonly string[] | undefined;

  private constructor(session: InferenceSession) {
    this.#session = session;
    this.inputs = session.inputMetadata.map(sessionValue);
    this.outputs = session.outputMetadata.map(sessionValue);
    const tensors = this.outputs.filter(({ dtype }) => dtype !== 'unknown').map(({ name }) => name);
    this.#tensorOutputs = tensors.length < this.outputs.length ? tensors : undefined;
  }

  /** Loads a model from a file or from bytes. Throws `runtime-rejected` with the runtime's own words. */
  static async open(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
    runtime ??= load();
    const config = {
      ...(options.simulateQdq ? { disable_quant_qdq: '1' } : {}),
      ...(options.fuseInt8 ? { qdqisint8allowed: '1' } : {}),
      ...(options.prepack === false ? { disable_prepacking: '1' } : {}),
      ...(options.optimizedModelPath
        ? { optimized_model_external_initializers_file_name: `${basename(options.optimizedModelPath)}.data`, optimized_model_external_initializers_min_size_in_bytes: LARGE_INITIALIZER_BYTES }
        : {}),
      ...(options.externalDataFolder ? { model_external_initializers_file_folder_path: options.externalDataFolder } : {}),
    };
    const settings: InferenceSession.SessionOptions = {
      executionProviders: ['cpu'],
      graphOptimizationLevel: options.optimization ?? 'all',
      intraOpNumThreads: options.threads ?? 0,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      extra: { session: config },
      ...(options.optimizedModelPath ? { optimizedModelFilePath: options.optimizedModelPath } : {}),
      ...(options.profilePrefix ? { enableProfiling: true, profileFilePrefix: options.profilePrefix } : {}),
    };
    try {
      const session =
        typeof model === 'string'
          ? await runtime.InferenceSession.create(model, settings)
          : await runtime.InferenceSession.create(model, settings);
      return new Session(session);
    } catch (error) {
      throw rejection(error);
    }
  }

  /** Runs once. `fetch` names the outputs wanted (all, where absent). Outputs are tensors; others are left out. */
  async run(feeds: ReadonlyMap<string, Tensor>, fetch?: readonly string[]): Promise<Map<string, Tensor>> {
    const outputs = await this.runRaw(toFeeds(feeds), fetch);
    return new Map(
      Object.entries(outputs).flatMap(([name, value]) => {
        const tensor = fromOrt(value);
        return tensor ? [[name, tensor] as const] : [];
      }),
    );
  }

  /**
   * Runs once and hands over each output tensor, letting go of it after `visit` so that its memory can be given back while others
   * are still looked at; tensors that are kept stay valid. Returns the time in the runtime, in milliseconds.
   */
  async runAndVisit(feeds: ReadonlyMap<string, Tensor>, visit: (name: string, tensor: Tensor) => void): Promise<number> {
    const start = performance.now();
    const outputs = await this.runRaw(toFeeds(feeds));
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
      throw rejection(error);
    }
  }

  /** Finishes the profile; the file is then complete under the prefix given. */
  endProfiling(): void {
    this.#session.endProfiling();
  }

  async release(): Promise<void> {
    await this.#session.release();
  }
}

/** Converts feeds once, so that a sample can be run many times. */
export function toFeeds(feeds: ReadonlyMap<string, Tensor>): Record<string, OrtTensor> {
  return Object.fromEntries([...feeds].map(([name, tensor]) => [name, toOrt(tensor)]));
}

function toOrt(tensor: Tensor): OrtTensor {
  runtime ??= load();
  const dims = [...tensor.dims];
  if (tensor.dtype === 'string') return new runtime.Tensor('string', [...(tensor.strings ?? [])], dims);
  // The binding takes typed arrays of its own choice of class for each type.
  const data = typedArrayOf(tensor) as Float32Array;
  const value = new runtime.Tensor(tensor.dtype as 'float32', data, dims);
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

function sessionValue(metadata: InferenceSession.ValueMetadata): SessionValue {
  return metadata.isTensor
    ? { name: metadata.name, dtype: dtypeInfo(metadata.type).code ? metadata.type : 'unknown', shape: metadata.shape }
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
function rejection(error: unknown): QdqError {
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
      `onnxruntime: it has no kernel for the operator ${name}${node ? ` of node "${node}"` : ''} (${text || whole})`,
      'What runs the model (samples, measurements) cannot go on with it; without --data its weights can still be quantized.',
      { cause: error },
    );
  }
  const hint = VECTOR_PARAMETERS.test(whole)
    ? 'The model has scales of shape [1] that onnxruntime wants as scalars once it fuses Q/DQ; `qdq quantize --mode qat` writes one that loads, with the same scales.'
    : 'onnxruntime refused the model or its input; the words above are its own.';
  return new QdqError('runtime-rejected', `onnxruntime: ${text || whole}`, hint, { cause: error });
}
