import type { Model } from '../graph/model.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { dtypeFromCode, dtypeInfo, isFloat, isQuantizedType } from '../tensor/dtype.js';
import { bytesOf } from '../tensor/tensor.js';
import { ExternalStorage } from './external-data.js';
import { modelParts } from './message-parts.js';
import { patch } from './messages.js';
import { encodeModelMessage, sideFilesOf } from './model-codec.js';
import { int64ToNumber } from './int64.js';
import { storedTensors, type StoredTensor } from './model-tensors.js';
import { externalFields } from './tensor-codec.js';
import { CLEARED_DATA } from './tensor-data.js';
import { mapTensors } from './tensor-walk.js';

/** Weights from this size on are left out; smaller ones may be shapes or scales, whose values decide how the runtime rewrites a graph. */
const LARGE_BYTES = 2 ** 20;

/** Where the large weights in the file itself come to less than this together, copying them costs less than leaving them out. */
const MANY_BYTES = 2 ** 24;

/** A model without the bytes of its large weights. */
export interface HollowModel {
  readonly bytes: Uint8Array;
  /** Size that the side file must have from which all large weights are read, one over the other. */
  readonly sideFileBytes: number;
}

/**
 * The model as the runtime's optimizer needs it: large weights that are in side files or not computed yet, and many that are in the file itself,
 * point to the beginning of the side file `location`, whatever stands there. Undefined where a model has none such, and may be shown as it is.
 */
export function hollowModel(model: Model, location: string): HollowModel | undefined {
  const message = encodeModelMessage(model);
  const tensors = storedTensors(message, sideFilesOf(model));
  const apart = tensors.filter(({ storage }) => isApart(storage));
  const large = tensors.filter((tensor) => tensor.storage.byteLength >= LARGE_BYTES && !isApart(tensor.storage) && isWeight(tensor));
  const within = bytesOf(large) >= MANY_BYTES ? large : [];
  const leftOut = new Map([...apart, ...within].filter(({ storage }) => storage.byteLength >= LARGE_BYTES).map(({ message: tensor, storage }) => [tensor, storage]));
  if (leftOut.size === 0) return undefined;
  const taken = new Map(apart.map(({ message: tensor, storage }) => [tensor, storage]));
  const { parts, sizeBytes } = modelParts(
    mapTensors(message, (tensor) => {
      const [hollow, storage] = [leftOut.get(tensor), taken.get(tensor)];
      if (hollow) return patch(tensor, { ...CLEARED_DATA, ...externalFields(hollow, location, 0) });
      return storage ? patch(tensor, { ...CLEARED_DATA, raw_data: storage.read() }) : tensor;
    }),
  );
  return { bytes: Buffer.concat(parts, sizeBytes), sideFileBytes: Math.max(...[...leftOut.values()].map(({ byteLength }) => byteLength)) };
}

const isApart = (storage: unknown) => storage instanceof ExternalStorage || storage instanceof DeferredStorage;

/**
 * Whether a tensor's values are no matter to the optimizer: floats and integers of 8 bits or fewer, but for square ones in a stack of one, which
 * may be attention masks, whose pattern decides.
 */
function isWeight({ message, field }: StoredTensor): boolean {
  if (field !== 'initializer') return false;
  const dtype = dtypeFromCode(message.data_type ?? 0);
  const dims = (message.dims ?? []).map(int64ToNumber);
  const isMask = dims.length > 2 && dims.at(-1) === dims.at(-2) && dims.slice(0, -2).every((dim) => dim === 1);
  return (isFloat(dtype) || (isQuantizedType(dtype) && dtypeInfo(dtype).bits <= 8)) && !isMask;
}
