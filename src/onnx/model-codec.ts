import { QdqError, messageOf } from '../errors.js';
import type { Model, ModelFunction } from '../graph/model.js';
import { DeferredStorage } from '../tensor/deferred-storage.js';
import { rememberedStorage, SideFiles } from './external-data.js';
import { describeForeignBytes } from './foreign-bytes.js';
import { decodeAttribute } from './attribute-codec.js';
import { decodeGraph, decodeNode, encodeGraph } from './graph-codec.js';
import { int64ToNumber, toInt64 } from './int64.js';
import { modelParts, type MessageParts } from './message-parts.js';
import { patch, readMessage, type Message } from './messages.js';
import { mapTensors } from './tensor-walk.js';
import { keepEntries, keepMessages, keepText, Source } from './source.js';

type ModelMessage = Message<'ModelProto'>;

/** Where a model's bytes came from. */
export interface DecodeOptions {
  /** Path of the model file: for messages, and as the place of side files. */
  readonly file?: string;
  /** Folder that side files are named from, where it is not the file's. */
  readonly directory?: string;
}

/** Names of the ONNX domain; both mean the same. */
const ONNX_DOMAIN = 'ai.onnx';

const bytesOfModel = new WeakMap<Model, Uint8Array>();
const filesOfModel = new WeakMap<ModelMessage, SideFiles>();

/**
 * Reads a model. Weights stay views of `bytes`, which must not change afterwards. Side files are neither opened nor looked for.
 * Throws QdqError: `not-onnx` where the bytes are no model, `model-invalid` where a graph or an operator set is missing or a
 * tensor contradicts itself, `external-data` where a tensor points outside the model's folder.
 */
export function decodeModel(bytes: Uint8Array, options: DecodeOptions = {}): Model {
  const files = new SideFiles(options.directory, options.file);
  const message = readModelMessage(bytes, files.modelName);
  if (!message.graph) throw noGraph(message, bytes, files.modelName);
  const irVersion = int64ToNumber(message.ir_version);
  const opsets = new Map((message.opset_import ?? []).map((entry) => [opsetDomain(entry), int64ToNumber(entry.version)]));
  // Operator sets came with IR version 3; before, the version 1 was meant.
  if (opsets.size === 0 && irVersion >= 3) {
    throw new QdqError(
      'model-invalid',
      `${files.modelName} names no operator set (opset_import), which IR version ${irVersion} requires.`,
      'The file may be cut off at its end; copy or export it again.',
    );
  }
  const model = Source.attach<'ModelProto', Model>(message, {
    irVersion,
    opsets: opsets.size > 0 ? opsets : new Map([['', 1]]),
    producer: [message.producer_name, message.producer_version].filter(Boolean).join(' '),
    metadata: new Map((message.metadata_props ?? []).map((entry) => [entry.key ?? '', entry.value ?? ''])),
    graph: decodeGraph(message.graph, files),
    functions: (message.functions ?? []).map((each) => decodeFunction(each, files)),
  });
  bytesOfModel.set(model, bytes);
  filesOfModel.set(message, files);
  return model;
}

/**
 * Writes a model. The very object that was decoded gives the very bytes it came from. Of an edited one, what was not edited is
 * written as it was read, in canonical form (see `writeMessage`): a canonical file changes only where it was edited. Tensors in
 * side files keep pointing there: use `writeModel` to move them along. Deferred ones are computed. Throws QdqError('internal') for objects that cannot be
 * written, RangeError for integers beyond 64 bits.
 */
export function encodeModel(model: Model): Uint8Array {
  const { parts, sizeBytes } = encodeModelParts(model);
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, sizeBytes);
}

/** The same in pieces, which need no memory of their own for the weights. */
export function encodeModelParts(model: Model): MessageParts {
  const original = bytesOfModel.get(model);
  return original ? { parts: [original], sizeBytes: original.length } : modelParts(withDeferredInside(encodeModelMessage(model)));
}

function withDeferredInside(message: ModelMessage): ModelMessage {
  return mapTensors(message, (tensor) => {
    const storage = rememberedStorage(tensor);
    return storage instanceof DeferredStorage ? patch(tensor, { external_data: undefined, data_location: undefined, raw_data: storage.read() }) : tensor;
  });
}

/** The message of a model; the message that it came from where nothing was edited. */
export function encodeModelMessage(model: Model): ModelMessage {
  const { message, decoded } = Source.of<'ModelProto', Model>(model);
  if (model === decoded) return message;
  return patch(message, {
    ir_version: model.irVersion === decoded?.irVersion ? message.ir_version : model.irVersion,
    ...(model.producer === decoded?.producer ? {} : producerFields(model.producer)),
    graph: encodeGraph(model.graph),
    opset_import: keepEntries(model.opsets, decoded?.opsets, message.opset_import, opsetDomain, (entry, domain, version) =>
      patch(entry ?? { domain }, { version: toInt64(version) }),
    ),
    metadata_props: keepEntries(
      model.metadata,
      decoded?.metadata,
      message.metadata_props,
      (entry) => entry.key ?? '',
      (entry, key, value) => patch(entry ?? { key }, { value }),
    ),
    functions: keepMessages(model.functions, decoded?.functions, message.functions, encodeFunction),
  });
}

/** Where the side files of a model are that was decoded, or edited since; nowhere for a new model. */
export function sideFilesOf(model: Model): SideFiles {
  return filesOfModel.get(Source.of<'ModelProto', Model>(model).message) ?? new SideFiles();
}

function readModelMessage(bytes: Uint8Array, name: string): ModelMessage {
  const foreign = describeForeignBytes(bytes);
  if (foreign) {
    throw new QdqError('not-onnx', `${name} is not an ONNX model: expected a protobuf message, received ${foreign.what}.`, foreign.hint);
  }
  try {
    return readMessage('ModelProto', bytes);
  } catch (error) {
    throw new QdqError(
      'not-onnx',
      `${name} is not an ONNX model, or is damaged: expected a protobuf message, but reading its ${bytes.length} bytes failed ` +
        `(${messageOf(error)}). It starts with ${firstBytes(bytes)}.`,
      'If it was downloaded or copied, compare its size with the original; otherwise export it again.',
      { cause: error },
    );
  }
}

function noGraph(message: ModelMessage, bytes: Uint8Array, name: string): QdqError {
  const isModel = message.ir_version !== undefined && (message.producer_name || message.opset_import?.length);
  return new QdqError(
    isModel ? 'model-invalid' : 'not-onnx',
    isModel
      ? `${name} has no graph.`
      : `${name} is not an ONNX model: expected a protobuf message with a graph; its ${bytes.length} bytes have none. ` +
        `It starts with ${firstBytes(bytes)}.`,
    isModel ? 'The file may be cut off; copy or export it again.' : 'Give the path of an .onnx file.',
  );
}

function firstBytes(bytes: Uint8Array): string {
  return [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function opsetDomain(entry: Message<'OperatorSetIdProto'>): string {
  return entry.domain === ONNX_DOMAIN ? '' : (entry.domain ?? '');
}

function producerFields(producer: string): Partial<ModelMessage> {
  const [, name = producer, version] = /^(.*) (\S*\d\S*)$/.exec(producer) ?? [];
  return { producer_name: name || undefined, producer_version: version };
}

function decodeFunction(message: Message<'FunctionProto'>, files: SideFiles): ModelFunction {
  const decodeBody = (body: Message<'GraphProto'>) => decodeGraph(body, files);
  return Source.attach<'FunctionProto', ModelFunction>(message, {
    name: message.name ?? '',
    domain: message.domain === ONNX_DOMAIN ? '' : (message.domain ?? ''),
    overload: message.overload ?? '',
    inputs: message.input ?? [],
    outputs: message.output ?? [],
    defaults: new Map((message.attribute_proto ?? []).map((each) => [each.name ?? '', decodeAttribute(each, message.name ?? '', files, decodeBody)])),
    opsets: new Map((message.opset_import ?? []).map((entry) => [opsetDomain(entry), int64ToNumber(entry.version)])),
    nodes: (message.node ?? []).map((node) => decodeNode(node, files)),
  });
}

function encodeFunction(modelFunction: ModelFunction): Message<'FunctionProto'> {
  const { message, decoded } = Source.of<'FunctionProto', ModelFunction>(modelFunction);
  if (!decoded) throw new QdqError('internal', `Cannot write function "${modelFunction.name}": functions cannot be made, only kept.`);
  return patch(message, {
    name: keepText(modelFunction.name, decoded.name, message.name),
    domain: keepText(modelFunction.domain, decoded.domain, message.domain),
    overload: keepText(modelFunction.overload, decoded.overload, message.overload),
  });
}
