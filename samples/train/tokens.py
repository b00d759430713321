"""Trains and exports the token classifier, and writes its calibration and test sequences."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from export import export, session
from token_model import TokenNet
from token_sequences import CLASSES, MAX_LENGTH, VOCABULARY, collate, token_sequences

FOLDER = Path(__file__).resolve().parent.parent / "tokens"
SPLITS = {"calibration": (64, 1001), "test": (200, 1002)}
# The longest sequence of each epoch: the order of a motif is only learned from short ones.
CURRICULUM = [24] * 6 + [40] * 3 + [MAX_LENGTH] * 8
EPOCH_SEQUENCES = 8_000
BATCH = 32
PEAK_LEARNING_RATE = 1e-3


def train():
    torch.manual_seed(0)
    model = TokenNet(VOCABULARY, MAX_LENGTH, CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = len(CURRICULUM) * (EPOCH_SEQUENCES // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, steps, pct_start=0.1)
    model.train()
    for epoch, longest in enumerate(CURRICULUM):
        sequences, labels = token_sequences(EPOCH_SEQUENCES, seed=epoch, longest=longest)
        total = 0.0
        for batch in torch.randperm(EPOCH_SEQUENCES).split(BATCH):
            input_ids, attention_mask = collate([sequences[i] for i in batch])
            logits = model(torch.from_numpy(input_ids), torch.from_numpy(attention_mask))
            loss = cross_entropy(logits, torch.from_numpy(labels[batch]))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / (EPOCH_SEQUENCES // BATCH):.4f}", flush=True)
    return model


def write_sequences():
    labels = {}
    for split, (count, seed) in SPLITS.items():
        shutil.rmtree(FOLDER / split, ignore_errors=True)
        (FOLDER / split).mkdir(parents=True)
        for i, (sequence, label) in enumerate(zip(*token_sequences(count, seed))):
            name = f"{split}-{i:03}.npz"
            input_ids, attention_mask = collate([sequence])
            np.savez_compressed(FOLDER / split / name, input_ids=input_ids, attention_mask=attention_mask)
            labels[name] = int(label)
    write_json("labels.json", labels)
    return labels


def write_reference(labels):
    run = session(FOLDER / "model.onnx").run
    logits = {}
    for path in sorted((FOLDER / "test").iterdir()):
        with np.load(path) as inputs:
            logits[path.name] = run(None, dict(inputs))[0][0]
    correct = sum(int(row.argmax()) == labels[name] for name, row in logits.items())
    reference = {
        "accuracy": correct / len(logits),
        "correct": correct,
        "count": len(logits),
        "logits": {name: [round(float(v), 6) for v in logits[name]] for name in list(logits)[:3]},
    }
    write_json("reference.json", reference)
    print(f"test accuracy {reference['accuracy']}")


def write_json(name, value):
    (FOLDER / name).write_text(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    file_labels = write_sequences()
    network = train()
    example = collate(token_sequences(2, seed=0)[0])
    export(
        network,
        {"input_ids": torch.from_numpy(example[0]), "attention_mask": torch.from_numpy(example[1])},
        {
            "input_ids": {0: "batch", 1: "sequence"},
            "attention_mask": {0: "batch", 1: "sequence"},
            "logits": {0: "batch"},
        },
        FOLDER / "model.onnx",
    )
    write_reference(file_labels)
