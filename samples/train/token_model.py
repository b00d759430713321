"""The token sequence classifier: a small BERT-style transformer encoder."""

import math

import torch
from torch import nn


def sinusoids(length, width):
    position = torch.arange(length)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * frequency)
    table[:, 1::2] = torch.cos(position * frequency)
    return table


class Embeddings(nn.Module):
    def __init__(self, vocabulary, length, width):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.word_embeddings.weight, std=0.3)
        self.position_embeddings = nn.Embedding.from_pretrained(sinusoids(length, width), freeze=False)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("position_ids", torch.arange(length)[None], persistent=False)

    def forward(self, input_ids):
        position_ids = self.position_ids[:, : input_ids.shape[1]]
        return self.norm(self.word_embeddings(input_ids) + self.position_embeddings(position_ids))


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, self.head_width).permute(0, 2, 1, 3)

    def forward(self, x, mask_bias):
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(self.head_width)
        context = torch.matmul(torch.softmax(scores + mask_bias, dim=-1), value)
        context = context.permute(0, 2, 1, 3).contiguous()
        return self.output(context.view(x.shape[0], x.shape[1], self.heads * self.head_width))


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.intermediate = nn.Linear(width, hidden)
        self.activation = nn.GELU()
        self.output = nn.Linear(hidden, width)
        self.output_norm = nn.LayerNorm(width)

    def forward(self, x, mask_bias):
        x = self.attention_norm(x + self.attention(x, mask_bias))
        return self.output_norm(x + self.output(self.activation(self.intermediate(x))))


class TokenNet(nn.Module):
    def __init__(self, vocabulary, length, classes, width=128, heads=4, hidden=512, layers=2):
        super().__init__()
        self.embeddings = Embeddings(vocabulary, length, width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(layers))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, input_ids, attention_mask):
        x = self.embeddings(input_ids)
        mask = attention_mask[:, None, None, :].to(x.dtype)
        mask_bias = (1.0 - mask) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask_bias)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))
