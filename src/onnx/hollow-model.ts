import type { Model } from '../graph/model.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { ExternalStorage } from './external-data.js';
import { modelParts } from './message-parts.js';
import { patch } from './messages.js';
import { encodeModelMessage, sideFilesOf } from './model-codec.js';
import { storedTensors } from './model-tensors.js';
import { externalFields } from './tensor-codec.js';
import { CLEARED_DATA } from './tensor-data.js';
import { mapTensors } from './tensor-walk.js';

/** Weights from this size on are left out; smaller ones may be shapes or scales, whose values decide how the runtime rewrites a graph. */
const LARGE_BYTES = 2 ** 20;

/** A model without the bytes of its large weights. */
export interface HollowModel {
  readonly bytes: Uint8Array;
  /** Size that the side file must have from which all large weights are read, one over the other. */
  readonly sideFileBytes: number;
}

/**
 * The model as the runtime's optimizer needs it, for models whose weights are in side files or not computed yet: large ones point to the
 * beginning of the side file `location`, whatever stands there. Undefined where a model has none such, and may be shown as it is.
 */
export function hollowModel(model: Model, location: string): HollowModel | undefined {
  const message = encodeModelMessage(model);
  const storages = new Map(storedTensors(message, sideFilesOf(model)).map(({ message: tensor, storage }) => [tensor, storage]));
  const isApart = (storage: unknown) => storage instanceof ExternalStorage || storage instanceof DeferredStorage;
  const sizes = [...storages.values()].filter((storage) => isApart(storage) && storage.byteLength >= LARGE_BYTES).map(({ byteLength }) => byteLength);
  if (sizes.length === 0) return undefined;
  const { parts, sizeBytes } = modelParts(
    mapTensors(message, (tensor) => {
      const storage = storages.get(tensor);
      if (!storage || !isApart(storage)) return tensor;
      return patch(tensor, { ...CLEARED_DATA, ...(storage.byteLength >= LARGE_BYTES ? externalFields(storage, location, 0) : { raw_data: storage.read() }) });
    }),
  );
  return { bytes: Buffer.concat(parts, sizeBytes), sideFileBytes: Math.max(...sizes) };
}
