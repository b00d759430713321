import type { DataSpec, ImageOptions } from './data/data-spec.js';
import { QdqError } from './errors.js';
import type { FreezeOption } from './freeze.js';
import type { ProgressListener, Warning } from './progress.js';
import { RuntimeHost } from './runtime/host.js';
import type { RuntimeName } from './runtime/runtime-names.js';
import { webFactsTask } from './runtime/web-binding.js';

/** Options that every verb takes. */
export interface VerbOptions {
  /** Threads inside one operator; one for each core where absent. */
  readonly threads?: number | undefined;
  readonly onProgress?: ProgressListener | undefined;
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  /** Stops the work; the promise is rejected with code `interrupted` and nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
}

/** Where models run. */
export interface RuntimeOptions {
  /** `web`: onnxruntime-web's WebAssembly, an optional dependency. onnxruntime-node where absent. */
  readonly runtime?: RuntimeName | undefined;
}

/** Inputs that a model is to be made without. */
export interface FreezeOptions {
  /** Values by input name, that the model computes with whatever callers feed. */
  readonly freeze?: FreezeOption | undefined;
}

/** Which samples to use; see `DataSpec` for the meaning of each field. */
export interface DataOptions extends ImageOptions {
  /** Folders, files, reader modules, or `random:N`. */
  readonly data?: readonly string[] | undefined;
  readonly stacked?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly split?: string | undefined;
  /** Shapes by input name, for dimensions that the model leaves open. */
  readonly shape?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** The data named by options; undefined where none is named. */
export function dataSpecOf(options: DataOptions): DataSpec | undefined {
  if (!options.data || options.data.length === 0) return undefined;
  const { resize, crop, resample, mean, std, scale, layout, channels, config } = options;
  const image = defined({ resize, crop, resample, mean, std, scale, layout, channels, config });
  const { stacked, limit, split } = options;
  return {
    paths: options.data,
    ...defined({ stacked, limit, split, shapes: options.shape }),
    ...(Object.keys(image).length > 0 ? { image } : {}),
  };
}

/** The data named by options; throws `usage` where none is named. */
export function requireDataSpec(options: DataOptions): DataSpec {
  const spec = dataSpecOf(options);
  if (!spec) throw new QdqError('usage', 'no data was given', 'Name samples with --data: a folder, files, a reader module or random:N.');
  return spec;
}

/** Runs work with a runtime host and closes the host whatever happens; warnings are collected and passed on. */
export async function withHost<T>(options: VerbOptions, work: (host: RuntimeHost, warnings: Warning[]) => Promise<T>): Promise<T> {
  const warnings: Warning[] = [];
  const onWarning = (warning: Warning) => {
    if (warnings.some((known) => known.code === warning.code && known.message === warning.message)) return;
    warnings.push(warning);
    options.onWarning?.(warning);
  };
  const host = new RuntimeHost({ onProgress: options.onProgress, onWarning, signal: options.signal });
  try {
    host.start();
    return await work(host, warnings);
  } finally {
    await host.close();
  }
}

/** Adds a warning of the verb itself, once. */
export function warn(options: VerbOptions, warnings: Warning[], warning: Warning): void {
  warnings.push(warning);
  options.onWarning?.(warning);
}

/** Threads inside one operator, as results tell them: 0 is one for each core. onnxruntime-web tells how many it took once a session is open. */
export async function usedThreads(host: RuntimeHost, { threads = 0, runtime }: VerbOptions & RuntimeOptions): Promise<number> {
  return runtime === 'web' ? (await host.run(webFactsTask, undefined)).threads : threads;
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

function defined<T extends object>(object: T): Partial<Defined<T>> {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Partial<Defined<T>>;
}
