import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { SessionOptions } from './session-options.js';

/** What one runtime does in its own way. Both take and give the classes of onnxruntime's common JavaScript interface. */
export interface Binding {
  readonly Tensor: typeof Tensor;
  /** Loads a model from a file or from bytes. Throws what the runtime throws. */
  readonly open: (model: string | Uint8Array, options: SessionOptions) => Promise<InferenceSession>;
  /** Ends the profile of a session that was opened with these options, and returns its trace: JSON, or nothing where none was made. */
  readonly endProfiling: (session: InferenceSession, options: SessionOptions) => Promise<string>;
}

/** The options that mean the same to both. */
export function commonSettings(options: SessionOptions): InferenceSession.SessionOptions {
  return {
    graphOptimizationLevel: options.optimization ?? 'all',
    logSeverityLevel: 4,
    ...(options.profilePrefix ? { enableProfiling: true } : {}),
  };
}

/** Session configuration entries that mean the same to both, by their keys without the leading `session.`. */
export function commonConfig(options: SessionOptions): Record<string, string> {
  return {
    ...(options.simulateQdq ? { disable_quant_qdq: '1' } : {}),
    ...(options.fuseInt8 ? { qdqisint8allowed: '1' } : {}),
    ...(options.prepack === false ? { disable_prepacking: '1' } : {}),
  };
}
