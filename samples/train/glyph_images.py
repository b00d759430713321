"""Generates the glyph pictures: one distorted shape on a cluttered background."""

import math

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32
SUPERSAMPLING = 4
IMAGE_MEAN = (0.53, 0.49, 0.44)
IMAGE_STD = (0.26, 0.24, 0.23)


def regular_polygon(corners):
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def star():
    return [
        ((0.45, 1.0)[i % 2] * math.cos(math.pi * i / 5), (0.45, 1.0)[i % 2] * math.sin(math.pi * i / 5))
        for i in range(10)
    ]


def cross(arm=0.34):
    return [
        (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
        (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
    ]


def crescent():
    outer = [(math.cos(a), math.sin(a)) for a in np.linspace(0.25 * math.pi, 1.75 * math.pi, 32)]
    inner = [(0.45 + 0.75 * math.cos(a), 0.75 * math.sin(a)) for a in np.linspace(1.6 * math.pi, 0.4 * math.pi, 32)]
    return outer + inner


def heart():
    points = []
    for t in np.linspace(0, 2 * math.pi, 48, endpoint=False):
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -y / 17))
    return points


OUTLINES = {
    "arrow": [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)],
    "circle": regular_polygon(48),
    "crescent": crescent(),
    "cross": cross(),
    "heart": heart(),
    "hexagon": regular_polygon(6),
    "pentagon": regular_polygon(5),
    "square": regular_polygon(4),
    "star": star(),
    "triangle": regular_polygon(3),
}
CLASSES = sorted(OUTLINES)


def random_color(rng):
    warm = np.array([1.0, 0.92, 0.84])
    return rng.uniform(20, 250, 3) * warm


def contrasting_color(rng, color, distance):
    while True:
        candidate = random_color(rng)
        if np.linalg.norm(candidate - color) >= distance:
            return candidate


def place(outline, rng):
    """Rotates, scales, squeezes, and shifts an outline into picture coordinates."""
    angle = rng.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    skew = np.array([[rng.uniform(0.85, 1.0), rng.uniform(-0.12, 0.12)], [0.0, 1.0]])
    radius = rng.uniform(6.5, 12.5) * SUPERSAMPLING
    center = (SIZE / 2 + rng.uniform(-4, 4, 2)) * SUPERSAMPLING
    points = np.array(outline) @ (skew @ rotation).T * radius + center
    return [tuple(p) for p in points]


def draw_lines(draw, rng, count, color):
    extent = SIZE * SUPERSAMPLING
    for _ in range(count):
        ends = [tuple(p) for p in rng.uniform(0, extent, (2, 2))]
        width = int(rng.integers(SUPERSAMPLING // 2, 2 * SUPERSAMPLING))
        draw.line(ends, fill=to_rgb(color), width=width)


def draw_spots(draw, rng, count):
    extent = SIZE * SUPERSAMPLING
    for _ in range(count):
        x, y = rng.uniform(0, extent, 2)
        r = rng.uniform(1.0, 3.0) * SUPERSAMPLING
        draw.ellipse([x - r, y - r, x + r, y + r], fill=to_rgb(random_color(rng)))


def to_rgb(color):
    return tuple(int(c) for c in color)


def glyph_image(name, rng):
    """Returns one picture of the class as uint8 [32, 32, 3]."""
    background = random_color(rng)
    foreground = contrasting_color(rng, background, 75)
    extent = SIZE * SUPERSAMPLING
    image = Image.new("RGB", (extent, extent), to_rgb(background))
    draw = ImageDraw.Draw(image)
    draw_spots(draw, rng, int(rng.integers(0, 5)))
    draw_lines(draw, rng, int(rng.integers(0, 4)), random_color(rng))
    draw.polygon(place(OUTLINES[name], rng), fill=to_rgb(foreground))
    draw_lines(draw, rng, int(rng.integers(0, 3)), background)
    draw_spots(draw, rng, int(rng.integers(0, 2)))

    pixels = np.asarray(image.reduce(SUPERSAMPLING), np.float64)
    ramp = np.linspace(-1, 1, SIZE)
    shade = rng.uniform(-25, 25) * ramp[:, None] + rng.uniform(-25, 25) * ramp[None, :]
    noise = rng.normal(0, rng.uniform(2, 24), pixels.shape)
    return np.clip(np.rint(pixels + shade[:, :, None] + noise), 0, 255).astype(np.uint8)


def glyph_images(count, seed):
    """Returns images uint8 [count, 32, 32, 3] and labels int64 [count], the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = np.stack([glyph_image(CLASSES[label], rng) for label in labels])
    return images, labels


def preprocess(images):
    """uint8 [n, 32, 32, 3] to normalized float32 [n, 3, 32, 32]."""
    scaled = images.astype(np.float32) / 255
    normalized = (scaled - np.float32(IMAGE_MEAN)) / np.float32(IMAGE_STD)
    return np.ascontiguousarray(normalized.transpose(0, 3, 1, 2))
