"""Fine-tunes the glyph classifier with fake quantization and exports it with Q/DQ: 8 bits, and 4-bit weights."""

import copy
import json

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from torch.ao.quantization import FakeQuantize, MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver
from torch.ao.quantization import QConfig, QConfigMapping, disable_observer
from torch.ao.quantization.quantize_fx import prepare_qat_fx
from torch.nn.functional import cross_entropy
from torch.nn.intrinsic.qat import freeze_bn_stats

from export import export, session
from glyph_images import CLASSES, SIZE, glyph_images, preprocess
from glyph_model import GlyphNet
from glyphs import BATCH, EPOCH_IMAGES, FOLDER

EXAMPLE = torch.zeros(1, 3, SIZE, SIZE)
CALIBRATION_BATCHES = 16
# Pictures that the float training did not see.
FIRST_SEED = 100
SETTINGS = {8: {"epochs": 1, "learning_rate": 2e-4}, 4: {"epochs": 4, "learning_rate": 1e-3}}


def float_model():
    """The trained float model, from the file of the static sample."""
    stored = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in onnx.load(FOLDER / "model.onnx").graph.initializer}
    model = GlyphNet(len(CLASSES))
    state = model.state_dict()
    model.load_state_dict({name: stored.get(name, value) for name, value in state.items()})
    assert all(name in stored for name in state if not name.endswith("num_batches_tracked"))
    return model


def prepared(model, weight_bits):
    """The model with fake quantization: u8 activations, symmetric weights with a scale for each channel."""
    limit = 2 ** (weight_bits - 1) - 1
    activation = FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)
    weight = FakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver,
        quant_min=-limit,
        quant_max=limit,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
        averaging_constant=1.0,
    )
    mapping = QConfigMapping().set_global(QConfig(activation=activation, weight=weight))
    return prepare_qat_fx(copy.deepcopy(model).train(), mapping, EXAMPLE)


def batches(seed):
    images, labels = glyph_images(EPOCH_IMAGES, seed)
    for batch in torch.randperm(EPOCH_IMAGES).split(BATCH):
        yield torch.from_numpy(preprocess(images[batch.numpy()])), torch.from_numpy(labels[batch.numpy()])


def calibrate(model):
    """Ranges from a few batches, nothing trained."""
    model.eval()
    with torch.no_grad():
        for i, (x, _) in zip(range(CALIBRATION_BATCHES), batches(FIRST_SEED)):
            model(x)


def fine_tune(model, epochs, learning_rate):
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    steps = epochs * (EPOCH_IMAGES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.1)
    model.train()
    for epoch in range(epochs):
        if epoch == epochs - 1:
            model.apply(freeze_bn_stats)
        total = 0.0
        for x, y in batches(FIRST_SEED + 1 + epoch):
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"  epoch {epoch + 1}: loss {total / (EPOCH_IMAGES // BATCH):.4f}", flush=True)


def export_qdq(model, path, weight_bits):
    model = copy.deepcopy(model).eval()
    model.apply(disable_observer)
    for module in model.modules():
        # The exporter knows the full range of 8 bits only; `store_weights` keeps to the trained one.
        if isinstance(module, FakeQuantize) and module.dtype == torch.qint8:
            module.activation_post_process.quant_min, module.activation_post_process.quant_max = -128, 127
    export(model, {"image": EXAMPLE}, {"image": {0: "batch"}, "logits": {0: "batch"}}, path)
    if weight_bits < 8:
        store_weights(path, 2 ** (weight_bits - 1) - 1)


def store_weights(path, limit):
    """Stores weights as int8 within ±limit in place of float → QuantizeLinear."""
    model = onnx.load(path)
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] in tensors]:
        weight, scale = (numpy_helper.to_array(tensors[name]) for name in node.input[:2])
        shape = (-1,) + (1,) * (weight.ndim - 1)
        integers = np.clip(np.rint(weight / scale.reshape(shape)), -limit, limit).astype(np.int8)
        tensors[node.input[0]].CopyFrom(numpy_helper.from_array(integers, node.input[0]))
        for reader in graph.node:
            for i, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[i] = node.input[0]
        graph.node.remove(node)
    onnx.save(model, path)


def accuracy(path):
    labels = json.loads((FOLDER / "labels.json").read_text())
    names = sorted(p.relative_to(FOLDER / "test").as_posix() for p in (FOLDER / "test").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(FOLDER / "test" / name)) for name in names])
    (logits,) = session(path, simulate=True).run(None, {"image": preprocess(images)})
    return float(np.mean(logits.argmax(1) == [labels[name] for name in names]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    reference = {}
    for bits, settings in SETTINGS.items():
        torch.manual_seed(0)
        network = prepared(float_model(), bits)
        calibrate(network)
        if bits < 8:
            export_qdq(network, FOLDER / f"ptq-{bits}bit.onnx", bits)
        fine_tune(network, **settings)
        export_qdq(network, FOLDER / f"qat-{bits}bit.onnx", bits)
    for path in sorted(FOLDER.glob("[pq][ta][qt]-*.onnx")):
        reference[path.name] = accuracy(path)
        print(path.name, reference[path.name])
    (FOLDER / "qat-reference.json").write_text(json.dumps(reference, indent=2) + "\n")
