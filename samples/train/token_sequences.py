"""Generates the token sequences: ordered motifs hidden among background tokens.

Each class owns one motif, an ordered triple. Motifs come in pairs that hold the
same three tokens in opposite orders, so a bag of tokens cannot tell them apart.
A sequence belongs to the class whose motif was planted most often; rival motifs,
broken motifs, and random substitutions make some sequences ambiguous.
"""

import numpy as np

PAD, CLS = 0, 1
FIRST_TOKEN, VOCABULARY = 2, 64
TRIPLES = [(10, 17, 23), (31, 12, 44), (50, 36, 19), (27, 58, 41)]
MOTIFS = [m for triple in TRIPLES for m in (triple, triple[::-1])]
CLASSES = len(MOTIFS)
MIN_LENGTH, MAX_LENGTH = 16, 64
PAD_MULTIPLE = 16
SUBSTITUTION = 0.03


def token_sequence(label, longest, rng):
    """Returns one sequence of the class, without padding."""
    length = int(rng.integers(MIN_LENGTH, longest + 1))
    most = 2 + int(rng.integers(0, 1 + length // 16))
    pieces = [MOTIFS[label]] * most
    rivals = rng.permutation([c for c in range(CLASSES) if c != label])[: 1 + length // 32]
    for rival in rivals:
        pieces += [MOTIFS[rival]] * int(rng.integers(0, most))
    for _ in range(int(rng.integers(0, 3))):
        pieces.append(tuple(rng.permutation(MOTIFS[int(rng.integers(CLASSES))])[:2]))
    pieces = pieces[: (length - 1) // 3]
    background = length - 1 - sum(map(len, pieces))
    pieces += [(int(t),) for t in rng.integers(FIRST_TOKEN, VOCABULARY, background)]
    body = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
    substituted = rng.random(len(body)) < SUBSTITUTION
    body[substituted] = rng.integers(FIRST_TOKEN, VOCABULARY, int(substituted.sum()))
    return np.concatenate([[CLS], body]).astype(np.int64)


def token_sequences(count, seed, longest=MAX_LENGTH):
    """Returns a list of sequences and labels int64 [count], the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    return [token_sequence(label, longest, rng) for label in labels], labels


def collate(sequences):
    """Pads to a common multiple of 16; returns input_ids and attention_mask int64 [n, length]."""
    longest = max(map(len, sequences))
    length = -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE
    input_ids = np.full((len(sequences), length), PAD, np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence
        attention_mask[row, : len(sequence)] = 1
    return input_ids, attention_mask
