"""Calibrates a model with the reference tool beside plain inference. Prints one JSON line.

usage: calibrate.py MODEL.onnx INPUTS_DIR METHOD

Needs onnxruntime, onnx and numpy. INPUTS_DIR holds .npy files for the model's only input. Methods: minmax, percentile, entropy. The line has
`inferenceMs` (one session with the runtime's default threads, the runs alone), `calibrationMs` and `peakRssBytes`, or `fail`.
"""
import glob
import json
import logging
import os
import resource
import sys
import tempfile
import time

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

METHODS = {'minmax': CalibrationMethod.MinMax, 'percentile': CalibrationMethod.Percentile, 'entropy': CalibrationMethod.Entropy}


class Reader(CalibrationDataReader):
    def __init__(self, name, files):
        self.name = name
        self.left = list(files)

    def get_next(self):
        return {self.name: np.load(self.left.pop(0))} if self.left else None


def main():
    model, inputs, method = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    files = sorted(glob.glob(os.path.join(os.path.abspath(inputs), '*.npy')))
    session = onnxruntime.InferenceSession(os.path.abspath(model), providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    inference = 0.0
    for file in files:
        feeds = {name: np.load(file)}
        start = time.perf_counter()
        session.run(None, feeds)
        inference += time.perf_counter() - start
    del session
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        calibrator = create_calibrator(os.path.abspath(model), augmented_model_path=os.path.join(folder, 'augmented.onnx'), calibrate_method=METHODS[method])
        calibrator.collect_data(Reader(name, files))
        calibrator.compute_data()
        calibration = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({'inferenceMs': inference * 1000, 'calibrationMs': calibration * 1000, 'peakRssBytes': peak}), flush=True)


if __name__ == '__main__':
    try:
        main()
    except Exception as error:
        print(json.dumps({'fail': f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'}), flush=True)
