"""Exports a trained model to ONNX and measures the exported file with onnxruntime."""

import onnx
import onnxruntime
import torch

OPSET = 17


def export(model, inputs, dynamic_axes, path, keep_batch_norm=False):
    model.eval()
    mode = torch.onnx.TrainingMode
    torch.onnx.export(
        model,
        tuple(inputs.values()),
        path,
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes=dynamic_axes,
        opset_version=OPSET,
        training=mode.PRESERVE if keep_batch_norm else mode.EVAL,
        do_constant_folding=not keep_batch_norm,
        dynamo=False,
    )
    exported = onnx.load(path)
    strip_source_locations(exported.graph)
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def strip_source_locations(graph):
    """Removes the exporter's stack traces, which name files of the exporting machine."""
    for node in graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")


def session(path, simulate=False):
    """A session on one thread; with `simulate`, Q/DQ run in float as they are written."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if simulate:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
