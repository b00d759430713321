import type { RuntimeName } from './runtime-names.js';

/** How far onnxruntime rewrites the graph; Q/DQ fuse from `extended` on. */
export type Optimization = 'disabled' | 'basic' | 'extended' | 'all';

/** How a session is opened. */
export interface SessionOptions {
  /** onnxruntime-node where absent. */
  readonly runtime?: RuntimeName | undefined;
  /** Threads inside one operator; 0 lets the runtime choose: onnxruntime-node one for each core, onnxruntime-web as in browsers. */
  readonly threads?: number;
  /**
   * Whether threads that wait for their next share of an operator keep a core busy, which is fastest where nothing else wants it; true where absent.
   * Without it, what other sessions and this program compute between runs takes half the time and the results are the same. onnxruntime-web has no such threads.
   */
  readonly spinning?: boolean;
  readonly optimization?: Optimization;
  /** Where the runtime writes the graph that it will run. onnxruntime-web cannot. */
  readonly optimizedModelPath?: string;
  /** Profiles runs until `endProfiling`. It is a path prefix for a file that is removed again. */
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
