import { writeMessage, type Message } from '../../src/onnx/messages.js';

/** Bytes of a model `y = x + w` whose constant `w` is the tensor given. */
export function modelWith(tensor: Message<'TensorProto'>, more: Message<'GraphProto'> = {}): Uint8Array {
  return writeMessage('ModelProto', {
    ir_version: 8,
    producer_name: 'test',
    graph: {
      node: [{ input: ['x', 'w'], output: ['y'], name: 'add', op_type: 'Add' }],
      name: 'g',
      initializer: [{ ...tensor, name: 'w' }],
      input: [{ name: 'x', type: { tensor_type: { elem_type: 1, shape: { dim: [{ dim_param: 'N' }] } } } }],
      output: [{ name: 'y', type: { tensor_type: { elem_type: 1 } } }],
      ...more,
    },
    opset_import: [{ domain: '', version: 13 }],
  });
}

/** A float32 tensor of `count` elements at a place of a side file; a value undefined leaves the entry out. */
export function externalTensor(
  count: number,
  entries: Readonly<Record<string, string | number | undefined>>,
): Message<'TensorProto'> {
  const external_data = Object.entries(entries)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ({ key, value: String(value) }));
  return { dims: [count], data_type: 1, external_data, data_location: 1 };
}
