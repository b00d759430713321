import fs from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { QdqError, messageOf } from '../errors.js';
import { decodeModel } from '../onnx/model-codec.js';
import { externalStorages } from '../onnx/model-tensors.js';
import { defineTask } from './task.js';
import { commonConfig, commonSettings, type Binding } from './binding.js';

type Web = typeof import('onnxruntime-web');

/** A file from this size on is no array that Node reads at once, and fills half of the memory that 32-bit WebAssembly can have. */
const MAX_FILE_BYTES = 2 ** 31;

let loaded: Web | undefined;

/**
 * Loads onnxruntime-web, which is an optional dependency: only when it is asked for. The first session fixes how many threads all have. Throws
 * QdqError `runtime-missing` where it is not installed.
 */
export async function loadWebBinding(): Promise<Binding> {
  const web = (loaded ??= await importWeb());
  // Its own messages are about models, which its errors name too.
  web.env.logLevel = 'fatal';
  return {
    Tensor: web.Tensor,
    open: async (model, options) => {
      if (options.threads) web.env.wasm.numThreads ??= options.threads;
      const bytes = typeof model === 'string' ? await readFile(model) : model;
      const externalData = await sideFiles(bytes, typeof model === 'string' ? model : undefined, options.externalDataFolder);
      return web.InferenceSession.create(bytes, {
        ...commonSettings(options),
        executionProviders: ['wasm'],
        externalData,
        extra: { session: commonConfig(options) },
      });
    },
    endProfiling: async (session) => printedBy(() => session.endProfiling()),
  };
}

/** Name and version of the runtime, and the threads that its sessions in this process have. To be called when one was opened. */
export function webFacts(): { readonly runtime: string; readonly threads: number } {
  return { runtime: `onnxruntime-web ${loaded?.env.versions.web}`, threads: loaded?.env.wasm.numThreads ?? 1 };
}

/** The same, for the process that asks for it. */
export const webFactsTask = defineTask(import.meta.url, 'webFactsTask', async () => webFacts());

async function importWeb(): Promise<Web> {
  try {
    return await import('onnxruntime-web');
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
    throw new QdqError(
      'runtime-missing',
      isMissing ? '--runtime web runs models in onnxruntime-web, which is not installed' : `onnxruntime-web cannot be loaded: ${messageOf(error)}`,
      'npm install onnxruntime-web',
      { cause: error },
    );
  }
}

/** The side files of a model with their bytes, under the names that the model has for them: WebAssembly opens no files. */
async function sideFiles(bytes: Uint8Array, file: string | undefined, folder: string | undefined): Promise<{ path: string; data: Uint8Array }[]> {
  const directory = folder ?? (file === undefined ? undefined : dirname(file));
  const model = decodeModel(bytes, { ...(file === undefined ? {} : { file }), ...(directory === undefined ? {} : { directory }) });
  const paths = new Map(externalStorages(model).map((storage) => [storage.location, storage.path]));
  const files: { path: string; data: Uint8Array }[] = [];
  for (const [location, path] of paths) {
    const { size } = await stat(path);
    if (size >= MAX_FILE_BYTES) {
      throw new QdqError('external-data', `onnxruntime-web: the side file ${path} has ${size} bytes, and a file of ${MAX_FILE_BYTES} and more does not fit into WebAssembly's memory beside the model`, 'Run the model without --runtime web.');
    }
    files.push({ path: location.replace(/^\.\//, ''), data: await readFile(path) });
  }
  return files;
}

/** What a call writes to stdout. onnxruntime-web prints its trace there, line by line, through this function of Node's. */
function printedBy(call: () => void): string {
  const { writeSync } = fs;
  const lines: string[] = [];
  const capture = (descriptor: number, ...rest: [string]): number => (descriptor === 1 ? lines.push(rest[0]) : writeSync(descriptor, ...rest));
  fs.writeSync = capture as typeof writeSync;
  try {
    call();
  } finally {
    fs.writeSync = writeSync;
  }
  return lines.join('');
}
