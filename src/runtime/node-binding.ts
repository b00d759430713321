import { readdir, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { commonConfig, commonSettings, type Binding } from './binding.js';
import type { SessionOptions } from './session-options.js';

/** Initializers from this size on go to a side file of the optimized model: together they may not fit a protobuf message. */
const LARGE_INITIALIZER_BYTES = '1048576';

/** Loads onnxruntime-node. */
export function loadNodeBinding(): Binding {
  // It is CommonJS, and its ES entry would load its lazy parts at once.
  // Its telemetry leaves files in the temporary folder of every process; whoever wants it sets the variable.
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
  const { InferenceSession, Tensor } = createRequire(import.meta.url)('onnxruntime-node') as typeof import('onnxruntime-node');
  return {
    Tensor,
    open: async (model, options) => {
      const settings = settingsOf(options);
      return typeof model === 'string' ? InferenceSession.create(model, settings) : InferenceSession.create(model, settings);
    },
    endProfiling: async (session, { profilePrefix }) => {
      session.endProfiling();
      return profilePrefix === undefined ? '' : takeTrace(profilePrefix);
    },
  };
}

function settingsOf(options: SessionOptions) {
  const { optimizedModelPath, externalDataFolder, profilePrefix, threads = 0 } = options;
  const config = {
    ...commonConfig(options),
    ...(options.spinning === false ? { 'intra_op.allow_spinning': '0' } : {}),
    ...(optimizedModelPath
      ? { optimized_model_external_initializers_file_name: `${basename(optimizedModelPath)}.data`, optimized_model_external_initializers_min_size_in_bytes: LARGE_INITIALIZER_BYTES }
      : {}),
    ...(externalDataFolder ? { model_external_initializers_file_folder_path: externalDataFolder } : {}),
  };
  return {
    ...commonSettings(options),
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    extra: { session: config },
    ...(optimizedModelPath ? { optimizedModelFilePath: optimizedModelPath } : {}),
    ...(profilePrefix ? { profileFilePrefix: profilePrefix } : {}),
  };
}

/** Reads and removes the trace. The binding does not say where it put it: the runtime adds date and time to the prefix. */
async function takeTrace(prefix: string): Promise<string> {
  const folder = dirname(prefix);
  const [name] = (await readdir(folder)).filter((file) => file.startsWith(basename(prefix)) && file.endsWith('.json')).sort().reverse();
  if (!name) return '';
  const path = join(folder, name);
  const text = await readFile(path, 'utf8');
  await rm(path);
  return text;
}
