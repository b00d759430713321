"""Makes small models as the reference tool quantizes them, for the tests, and counts independently of qdq what the runtime makes of them.

usage: quantized_slices.py SAMPLES_DIR OUT_DIR

Needs onnxruntime, onnx, numpy and sympy. Takes the first layers of the two sample models, quantizes them with the settings below, and writes
OUT_DIR/NAME.onnx and OUT_DIR/counts.json. Each entry of the latter holds, for the graph as this onnxruntime fused it:
  integer   nodes that multiply integers, by operator
  float     nodes that multiply floats, by operator
  left      QuantizeLinear and DequantizeLinear nodes
  dangling  those of them that convert for no integer kernel: a Q from which only DQ is reached, a DQ that no integer kernel feeds,
            a DQ that only Q with the same parameters reads, and that Q
  weights   bytes of integer initializers: 8 bits, and biases of 32
"""
import collections
import glob
import json
import logging
import os
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from judge import FLOAT, INTEGER

SLICES = {
    'glyphs': (['image'], ['/blocks/blocks.0/Add_output_0']),
    'tokens': (['input_ids', 'attention_mask'], ['/layers.0/Add_output_0']),
}
U8S8 = {'activation_type': QuantType.QUInt8, 'weight_type': QuantType.QInt8, 'per_channel': True}
STATIC = {
    'default': {},
    'u8s8': U8S8,
    'qoperator': {**U8S8, 'quant_format': QuantFormat.QOperator},
}
# Its kernels are those of u8s8, and its file is large.
LEFT_OUT = {('tokens', 'qoperator')}
SAMPLES = 8
# Operators that move integers without a look at them.
MOVES = ('Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Slice', 'Gather', 'Expand')


class Reader(CalibrationDataReader):
    def __init__(self, samples):
        self.left = list(samples)

    def get_next(self):
        return self.left.pop(0) if self.left else None


def samples_of(name, folder):
    if name == 'tokens':
        return [dict(np.load(file)) for file in sorted(glob.glob(os.path.join(folder, '*.npz')))[:SAMPLES]]
    # What becomes of a graph does not depend on ranges, so that pictures need no decoder here.
    noise = np.random.default_rng(1)
    return [{'image': noise.standard_normal((1, 3, 32, 32), dtype=np.float32)} for _ in range(SAMPLES)]


def count(path):
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = os.path.join(folder, 'fused.onnx')
        ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        graph = onnx.load(options.optimized_model_filepath).graph
    operators = collections.Counter(node.op_type for node in graph.node)
    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    biases = {node.input[0] for node in graph.node if node.op_type == 'DequantizeLinear'}
    biases |= {value for node in graph.node if node.op_type in ('QLinearConv', 'QGemm') for value in node.input[1:]}
    return {
        'integer': {kind: operators[kind] for kind in INTEGER if operators[kind]},
        'float': {kind: operators[kind] for kind in FLOAT if operators[kind]},
        'left': operators['QuantizeLinear'] + operators['DequantizeLinear'],
        'dangling': count_dangling(graph),
        'weights': sum(
            numpy_helper.to_array(t).nbytes
            for t in graph.initializer
            if t.data_type in integers or (t.data_type == onnx.TensorProto.INT32 and t.name in biases)),
    }


def count_dangling(graph):
    maker = {output: node for node in graph.node for output in node.output}
    readers = collections.defaultdict(list)
    for node in graph.node:
        for value in node.input:
            readers[value].append(node)
    constants = {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in graph.initializer}

    def after(node):
        return [reader for output in node.output for reader in readers[output]]

    def before(node):
        return [maker[value] for value in node.input if value in maker]

    def meets_kernel(node, follow, barrier):
        todo, seen = follow(node), set()
        while todo:
            node = todo.pop()
            if node.op_type in INTEGER or node.op_type.startswith('QLinear') or node.op_type == 'DynamicQuantizeLinear':
                return True
            if node.op_type != barrier and node.output[0] not in seen:
                seen.add(node.output[0])
                todo += follow(node)
        return False

    def undoes(dq):
        parameters = [constants.get(value) for value in dq.input[1:]]
        return bool(after(dq)) and all(
            q.op_type == 'QuantizeLinear' and [constants.get(value) for value in q.input[1:]] == parameters for q in after(dq))

    def is_lookup(dq):
        node = maker.get(dq.input[0])
        while node is not None and node.op_type in MOVES:
            if node.op_type == 'Gather' and node.input[0] in constants:
                return True
            node = maker.get(node.input[0])
        return False

    dangling = set()
    for node in graph.node:
        if node.op_type == 'QuantizeLinear' and not meets_kernel(node, after, 'DequantizeLinear'):
            dangling.add(node.output[0])
        if node.op_type == 'DequantizeLinear':
            if not meets_kernel(node, before, 'QuantizeLinear') and not is_lookup(node):
                dangling.add(node.output[0])
            if undoes(node):
                dangling.update([node.output[0], *(q.output[0] for q in after(node))])
    return len(dangling)


def main():
    samples_folder, out = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    counts = {}
    for name, (inputs, outputs) in SLICES.items():
        with tempfile.TemporaryDirectory() as folder:
            source, prepared = os.path.join(folder, 'slice.onnx'), os.path.join(folder, 'prepared.onnx')
            model = onnx.shape_inference.infer_shapes(onnx.load(os.path.join(samples_folder, name, 'model.onnx')))
            onnx.save(Extractor(model).extract_model(inputs, outputs), source)
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            for setting, options in STATIC.items():
                if (name, setting) in LEFT_OUT:
                    continue
                path = os.path.join(out, f'{name}-{setting}.onnx')
                quantize_static(prepared, path, Reader(samples_of(name, os.path.join(samples_folder, name, 'calibration'))), **options)
                counts[f'{name}-{setting}'] = count(path)
            path = os.path.join(out, f'{name}-dynamic.onnx')
            quantize_dynamic(prepared, path, weight_type=QuantType.QInt8 if name == 'tokens' else QuantType.QUInt8)
            counts[f'{name}-dynamic'] = count(path)
    with open(os.path.join(out, 'counts.json'), 'w') as file:
        json.dump({'onnxruntime': ort.__version__, 'models': counts}, file, indent=2)
        file.write('\n')


if __name__ == '__main__':
    main()
