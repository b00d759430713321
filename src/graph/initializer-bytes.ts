import type { Model } from './model.js';

/** Bytes of the initializers of a model's main graph. */
export function initializerBytes({ graph }: Model): number {
  return [...graph.initializers.values()].reduce((sum, { storage }) => sum + storage.byteLength, 0);
}
