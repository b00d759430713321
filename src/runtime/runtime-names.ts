/** Runtimes that models are judged in: onnxruntime-node, and onnxruntime-web's WebAssembly, which browsers run. */
export const RUNTIMES = ['node', 'web'] as const;
export type RuntimeName = (typeof RUNTIMES)[number];
