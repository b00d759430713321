"""Quantizes a model with the reference tool, onnxruntime.quantization. Prints one JSON line.

usage: reference.py MODEL.onnx INPUTS_DIR OUT.onnx SETTING [--split even|odd]

Needs onnxruntime, onnx, numpy and sympy. INPUTS_DIR holds .npz files, one run each. Settings: `default` (the tool's own), `minmax`,
`percentile`, `entropy` (u8 activations, s8 weights per channel), the same with `up-` in front (operator set raised to 17 first, where it is
below 13), and `dynamic`. As its documentation says, the model is preprocessed first; where that fails it is tried without symbolic shape
inference, and where quantization of the preprocessed model fails, without preprocessing. The line has `seconds` and `note`, or `fail`.
"""
import argparse
import glob
import json
import logging
import os
import tempfile
import time

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

METHODS = {'minmax': CalibrationMethod.MinMax, 'percentile': CalibrationMethod.Percentile, 'entropy': CalibrationMethod.Entropy}
RAISED_OPSET = 17


class Reader(CalibrationDataReader):
    def __init__(self, files):
        self.left = list(files)

    def get_next(self):
        return dict(np.load(self.left.pop(0))) if self.left else None


def raise_opset(model, folder):
    proto = onnx.load(model)
    if next(entry.version for entry in proto.opset_import if entry.domain in ('', 'ai.onnx')) >= 13:
        return model
    raised = os.path.join(folder, 'raised.onnx')
    onnx.save(onnx.version_converter.convert_version(proto, RAISED_OPSET), raised)
    return raised


def preprocess(model, folder):
    prepared = os.path.join(folder, 'prepared.onnx')
    try:
        quant_pre_process(model, prepared)
        return prepared, ''
    except Exception:
        pass
    try:
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        return prepared, 'without symbolic shape inference'
    except Exception:
        return model, 'without preprocessing'


def quantize(model, out, setting, files):
    if setting == 'dynamic':
        quantize_dynamic(model, out, weight_type=QuantType.QInt8, per_channel=True)
    elif setting == 'default':
        quantize_static(model, out, Reader(files))
    else:
        quantize_static(model, out, Reader(files), calibrate_method=METHODS[setting.removeprefix('up-')],
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True)


def run(model, out, setting, files):
    with tempfile.TemporaryDirectory() as folder:
        home = os.getcwd()
        os.chdir(folder)  # the tool leaves files in the current folder
        try:
            source = raise_opset(model, folder) if setting.startswith('up-') else model
            prepared, note = preprocess(source, folder)
            try:
                quantize(prepared, out, setting, files)
            except Exception:
                if prepared == source:
                    raise
                quantize(source, out, setting, files)
                note = 'without preprocessing'
            return note
        finally:
            os.chdir(home)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model')
    parser.add_argument('inputs')
    parser.add_argument('out')
    parser.add_argument('setting', choices=('default', *METHODS, *('up-' + name for name in METHODS), 'dynamic'))
    parser.add_argument('--split', choices=('even', 'odd'))
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    files = sorted(glob.glob(os.path.join(os.path.abspath(args.inputs), '*.npz')))
    if args.split and len(files) > 1:
        files = files[args.split == 'odd'::2]
    start = time.time()
    try:
        note = run(os.path.abspath(args.model), os.path.abspath(args.out), args.setting, files)
        print(json.dumps({'seconds': round(time.time() - start, 2), 'note': note}), flush=True)
    except Exception as error:
        print(json.dumps({'fail': f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'}), flush=True)


if __name__ == '__main__':
    main()
