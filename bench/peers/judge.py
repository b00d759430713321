"""Judges quantized models against their float original, independently of qdq. Prints one JSON line a candidate.

usage: judge.py FP32.onnx INPUTS_DIR CANDIDATE.onnx ... [--split even|odd] [--limit N] [--seconds S]

Needs onnxruntime, onnx and numpy. INPUTS_DIR holds .npz files, one run each, keys are input names. One thread.
Each line has:
  compute     compute nodes of the float model as the runtime fused it
  integer     compute nodes of the candidate that multiply integers, in the graph as the runtime fused it
  float       those that multiply floats, by operator
  floatWeighted  how many of those read a constant matrix
  qdq         QuantizeLinear and DequantizeLinear nodes left in that graph
  sqnr        10 log10(sum x^2 / sum (x - y)^2) in float64 over all samples, by output; null where it is not finite
  exactSqnr   the same with Q/DQ run as float, which is what a processor gives that adds products exactly; null where
              integer kernels remain (dynamic models)
  agreement   share of positions along the last axis of the first output with the same argmax; null below rank 2
  times       [fp32, candidate] in milliseconds, run by run, taken in turns
  sizeRatio   file sizes, side files included
  fail        in place of all these, where it does not load or run
"""
import argparse
import collections
import glob
import json
import math
import os
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

INTEGER = ('QLinearConv', 'NhwcQLinearConv', 'QLinearConvTranspose', 'ConvInteger', 'QLinearMatMul', 'QGemm', 'MatMulInteger',
           'MatMulIntegerToFloat', 'DynamicQuantizeMatMul', 'DynamicQuantizeLSTM', 'QAttention')
FLOAT = ('Conv', 'FusedConv', 'NhwcFusedConv', 'ConvTranspose', 'MatMul', 'FusedMatMul', 'Gemm', 'FusedGemm', 'LSTM', 'GRU', 'RNN',
         'Attention', 'MultiHeadAttention')
MIN_PAIRS, MAX_PAIRS = 15, 2000


def open_session(path, dump=None, simulate=False):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if dump:
        options.optimized_model_filepath = dump
    if simulate:
        options.add_session_config_entry('session.disable_quant_qdq', '1')
    return ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])


def count_operators(graph, into):
    for node in graph.node:
        kind = node.op_type
        if kind == 'MatMulNBits':
            # Activations become int8 at accuracy level 4 only.
            exact = any(a.name == 'accuracy_level' and a.i == 4 for a in node.attribute)
            kind = 'MatMulNBits' if exact else 'MatMulNBits (float)'
        into[kind] += 1
        for attribute in node.attribute:
            if attribute.HasField('g'):
                count_operators(attribute.g, into)
            for body in attribute.graphs:
                count_operators(body, into)


def open_and_count(path, simulate=False):
    """A session, the operators of the graph that it runs, and how many of them multiply a constant matrix as floats."""
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, 'fused.onnx')
        session, operators = open_session(path, dump, simulate), collections.Counter()
        fused = onnx.load(dump, load_external_data=False).graph
        count_operators(fused, operators)
    return session, operators, count_float_weighted(fused)


def count_float_weighted(graph):
    """Float compute nodes of the main graph whose second input is constant, as it is or through DequantizeLinear."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == 'DequantizeLinear' and node.input[0] in constants}
    return sum(node.op_type in FLOAT and len(node.input) > 1 and node.input[1] in constants for node in graph.node)


def size_of(path):
    sides = set()

    def visit(graph):
        tensors = list(graph.initializer)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField('g'):
                    visit(attribute.g)
                if attribute.HasField('t'):
                    tensors.append(attribute.t)
        for tensor in tensors:
            sides.update(entry.value for entry in tensor.external_data if entry.key == 'location')
    visit(onnx.load(path, load_external_data=False).graph)
    return os.path.getsize(path) + sum(os.path.getsize(os.path.join(os.path.dirname(path), side)) for side in sides)


def decibels(expected, received):
    """SQNR of each output over all samples."""
    result = []
    for i in range(len(expected[0])):
        signal = noise = 0.0
        for x, y in zip(expected, received):
            x, y = np.asarray(x[i], dtype=np.float64), np.asarray(y[i], dtype=np.float64)
            if x.shape != y.shape:
                raise ValueError(f'output {i} has shape {y.shape}, expected {x.shape}')
            signal += float((x ** 2).sum())
            noise += float(((x - y) ** 2).sum())
        ratio = 10 * math.log10(max(signal, 1e-30) / max(noise, 1e-30)) if math.isfinite(noise) and math.isfinite(signal) else None
        result.append(ratio)
    return result


def agreement(expected, received):
    shares = []
    for x, y in zip(expected, received):
        x, y = np.asarray(x[0]), np.asarray(y[0])
        if x.ndim >= 2 and x.shape == y.shape and x.shape[-1] > 1:
            shares.append(float((x.argmax(-1) == y.argmax(-1)).mean()))
    return float(np.mean(shares)) if shares else None


def take_turns(first, second, samples, seconds):
    """Times of both in milliseconds; which of them goes first alternates."""
    times, end = ([], []), time.perf_counter() + seconds
    for k in range(-3, MAX_PAIRS):
        sample = samples[k % len(samples)]
        pair = [0.0, 0.0]
        for i in ((0, 1) if k % 2 else (1, 0)):
            start = time.perf_counter()
            (first, second)[i].run(None, sample)
            pair[i] = (time.perf_counter() - start) * 1e3
        if k >= 0:
            times[0].append(round(pair[0], 5))
            times[1].append(round(pair[1], 5))
        if k >= MIN_PAIRS and time.perf_counter() > end:
            break
    return times


def judge(fp32, candidate, samples, seconds):
    original, before, _ = open_and_count(fp32)
    quantized, after, float_weighted = open_and_count(candidate)
    expected = [original.run(None, sample) for sample in samples]
    received = [quantized.run(None, sample) for sample in samples]
    exact = None
    simulated, simulated_operators, _ = open_and_count(candidate, simulate=True)
    if not any(simulated_operators[kind] for kind in INTEGER):
        exact = decibels(expected, [simulated.run(None, sample) for sample in samples])
    return {
        'candidate': candidate,
        'samples': len(samples),
        'compute': sum(before[kind] for kind in FLOAT),
        'integer': sum(after[kind] for kind in (*INTEGER, 'MatMulNBits')),
        'float': {kind: after[kind] for kind in (*FLOAT, 'MatMulNBits (float)') if after[kind]},
        'floatWeighted': float_weighted,
        'qdq': after['QuantizeLinear'] + after['DequantizeLinear'],
        'sqnr': decibels(expected, received),
        'exactSqnr': exact,
        'agreement': agreement(expected, received),
        'times': take_turns(original, quantized, samples, seconds),
        'sizeRatio': size_of(candidate) / size_of(fp32),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('fp32')
    parser.add_argument('inputs')
    parser.add_argument('candidates', nargs='+')
    parser.add_argument('--split', choices=('even', 'odd'))
    parser.add_argument('--limit', type=int, default=64)
    parser.add_argument('--seconds', type=float, default=3)
    args = parser.parse_args()
    files = sorted(glob.glob(os.path.join(args.inputs, '*.npz')))
    if args.split and len(files) > 1:
        files = files[args.split == 'odd'::2]
    if len(files) > args.limit:
        files = [files[i * len(files) // args.limit] for i in range(args.limit)]
    samples = [dict(np.load(file)) for file in files]
    for candidate in args.candidates:
        try:
            result = judge(args.fp32, candidate, samples, args.seconds)
        except Exception as error:  # a candidate that fails is a result
            result = {'candidate': candidate, 'fail': f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'}
        print(json.dumps(result), flush=True)


if __name__ == '__main__':
    main()
