"""Trains and exports the glyph classifier, and writes its calibration and test pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from export import export, session
from glyph_images import CLASSES, IMAGE_MEAN, IMAGE_STD, SIZE, glyph_images, preprocess
from glyph_model import GlyphNet

FOLDER = Path(__file__).resolve().parent.parent / "glyphs"
SPLITS = {"calibration": (64, 1001), "test": (200, 1002)}
EPOCHS = 8
EPOCH_IMAGES = 12_800
BATCH = 64
PEAK_LEARNING_RATE = 4e-3


def train():
    torch.manual_seed(0)
    model = GlyphNet(len(CLASSES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = EPOCHS * (EPOCH_IMAGES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, steps, pct_start=0.15)
    model.train()
    for epoch in range(EPOCHS):
        images, labels = (torch.from_numpy(a) for a in glyph_images(EPOCH_IMAGES, seed=epoch))
        total = 0.0
        for batch in torch.randperm(EPOCH_IMAGES).split(BATCH):
            x = torch.from_numpy(preprocess(images[batch].numpy()))
            loss = cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / (EPOCH_IMAGES // BATCH):.4f}", flush=True)
    return model.to(memory_format=torch.contiguous_format)


def write_pictures():
    labels = {}
    for split, (count, seed) in SPLITS.items():
        shutil.rmtree(FOLDER / split, ignore_errors=True)
        for i, (pixels, label) in enumerate(zip(*glyph_images(count, seed))):
            name = f"{CLASSES[label]}/{split}-{i:03}.png"
            path = FOLDER / split / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, optimize=True)
            labels[name] = int(label)
    write_json("labels.json", dict(sorted(labels.items())))
    write_json(
        "preprocessor_config.json",
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": SIZE, "width": SIZE},
            "resample": int(Image.Resampling.BILINEAR),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": IMAGE_MEAN,
            "image_std": IMAGE_STD,
        },
    )
    return labels


def write_reference(labels):
    names = sorted(p.relative_to(FOLDER / "test").as_posix() for p in (FOLDER / "test").rglob("*.png"))
    images = np.stack([np.asarray(Image.open(FOLDER / "test" / name)) for name in names])
    (logits,) = session(FOLDER / "model.onnx").run(None, {"image": preprocess(images)})
    correct = int(np.sum(logits.argmax(1) == [labels[name] for name in names]))
    reference = {
        "accuracy": correct / len(names),
        "correct": correct,
        "count": len(names),
        "logits": {name: [round(float(v), 6) for v in row] for name, row in zip(names[:3], logits)},
    }
    write_json("reference.json", reference)
    print(f"test accuracy {reference['accuracy']}")


def write_json(name, value):
    (FOLDER / name).write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    file_labels = write_pictures()
    network = train()
    export(
        network,
        {"image": torch.zeros(1, 3, SIZE, SIZE)},
        {"image": {0: "batch"}, "logits": {0: "batch"}},
        FOLDER / "model.onnx",
        keep_batch_norm=True,
    )
    write_reference(file_labels)
