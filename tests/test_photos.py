"""The photo reader. The tests draw their own pictures: MNIST digits that the network hasn't seen, large, as ink on paper
as a camera would see it, and every sort of file that is no such picture."""
import copy
import io
import os
import re
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import main
from conftest import ROOT, environment, run

posix = pytest.mark.skipif(os.name == "nt", reason="a Windows terminal neither escapes paths nor takes ~")


# ---- The digits, and how they get on paper --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(model, loaders):
    """`(digit, label)` for test digits, (28, 28) from 0 to 1, that the network knows when it gets them directly: what
    is misread in a picture of theirs is the reader's fault. In turn 0, 1, ... 9, 0, 1, ..."""
    images, labels = loaders[1].dataset.tensors
    with torch.no_grad():
        scores, guesses = torch.softmax(model(images), 1).max(1)
    chosen = [[i for i in torch.nonzero((labels == name) & (guesses == name) & (scores > 0.9)).flatten().tolist()]
              for name in range(10)]
    return [(images[i, 0].numpy() / 2 + 0.5, labels[i].item()) for turn in zip(*chosen) for i in turn]


def crop(array):
    """Cut an array down to what is above 0."""
    rows, columns = np.nonzero(array.max(1))[0], np.nonzero(array.max(0))[0]
    return array[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def enlarge(digit, side):
    """The digit with smooth, sharp edges, `side` pixels in its longer direction: from 0 to 1, the share of ink."""
    size = [round(n * side / 28) for n in (28, 28)]
    large = np.asarray(Image.fromarray(np.uint8(255 * digit)).resize(size, Image.BICUBIC), np.float32) / 255
    large = crop(np.clip((large - 0.4) * 4, 0, 1))
    size = [max(1, round(n * side / max(large.shape))) for n in large.shape[::-1]]
    return np.asarray(Image.fromarray(large).resize(size, Image.BILINEAR))


def trace(digit, side, width):
    """The digit redrawn with a pen `width` pixels wide along the middle of its strokes (thinned as by Zhang and Suen)."""
    dots = (np.asarray(Image.fromarray(np.uint8(255 * digit)).resize((84, 84), Image.BICUBIC)) > 110).astype(int)
    before = None
    while before is None or before.sum() > dots.sum():
        before = dots
        for step in range(2):
            p = np.pad(dots, 1)
            ring = [p[1 + y:85 + y, 1 + x:85 + x] for y, x in
                    ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))]
            turns = sum((a == 0) & (b == 1) for a, b in zip(ring, ring[1:] + ring[:1]))
            north, east, south, west = ring[::2]
            spared = east * south * (north + west) if step == 0 else north * west * (east + south)
            dots = dots & ~((turns == 1) & (sum(ring) >= 2) & (sum(ring) <= 6) & (spared == 0))
    dots = crop(dots)
    scale = (side - width) / max(max(dots.shape) - 1, 1)
    shape = [round(scale * (n - 1)) + width + 2 for n in dots.shape[::-1]]
    canvas = Image.new("L", shape)
    draw = ImageDraw.Draw(canvas)
    points = {(y, x) for y, x in zip(*np.nonzero(dots))}
    for y, x in points:
        for other in (y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1), (y, x):
            if other in points:
                ends = [(scale * q + width / 2, scale * p + width / 2) for p, q in ((y, x), other)]
                draw.line(ends, fill=255, width=width)
        if width > 2:
            x, y = scale * x, scale * y
            draw.ellipse((x, y, x + width, y + width), fill=255)
    return np.asarray(canvas, np.float32) / 255


def photograph(rng, ink, width=600, height=600, left=None, top=None, paper=0.8, pen=0.2, marks=0, grain=0.02, light=1):
    """A grey picture of a sheet with the strokes `ink` on it: paper and pen are brightnesses, `marks` further ink on
    the same sheet, `light` what falls on it. The light fades to one side, the sheet is uneven, the camera noisy."""
    cover = np.zeros((height, width), np.float32) + marks
    left = (width - ink.shape[1]) // 2 if left is None else left
    top = (height - ink.shape[0]) // 2 if top is None else top
    below = cover[top:top + ink.shape[0], left:left + ink.shape[1]]
    np.maximum(below, ink[:below.shape[0], :below.shape[1]], out=below)
    y, x = np.mgrid[-0.5:0.5:height * 1j, -0.5:0.5:width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = light * (1 + 0.25 * (np.cos(angle) * x + np.sin(angle) * y))
    blotches = rng.standard_normal((12, 12), np.float32)
    blotches = np.asarray(Image.fromarray(blotches).resize((width, height), Image.BICUBIC))
    sheet = paper + 0.02 * blotches
    picture = light * (sheet + (pen - sheet) * cover) + grain * rng.standard_normal((height, width), np.float32)
    return Image.fromarray(np.uint8(255 * picture.clip(0, 1)))


def rule(rng, both):
    """The marks of ruled or squared paper, a bit tilted."""
    canvas = Image.new("L", (600, 600))
    draw = ImageDraw.Draw(canvas)
    tilt, gap = rng.uniform(-30, 30), rng.integers(40, 60)
    for start in range(-60, 660, gap):
        draw.line((0, start - tilt, 600, start + tilt), fill=75, width=2)
        if both:
            draw.line((start + tilt, 0, start - tilt, 600), fill=75, width=2)
    return np.asarray(canvas, np.float32) / 255


def spatter(rng):
    """The marks of specks all over, and of a slip of the pen at one side."""
    canvas = Image.new("L", (600, 600))
    draw = ImageDraw.Draw(canvas)
    for x, y in rng.integers(0, 600, (40, 2)).tolist():
        draw.ellipse((x, y, x + 3, y + 3), fill=200)
    x, y = rng.integers(20, 60), rng.integers(30, 570)
    draw.line((x, y, x + 25, y + 15), fill=220, width=8)
    return np.asarray(canvas, np.float32) / 255


def shade(rng):
    """Light with a hard shadow across."""
    y, x = np.mgrid[-300:300, -300:300]
    angle = rng.uniform(0, 2 * np.pi)
    return np.where(np.cos(angle) * x + np.sin(angle) * y < rng.uniform(-100, 100), 1, 0.5).astype(np.float32)


def blur(picture, radius):
    return picture.filter(ImageFilter.GaussianBlur(radius))


def desk(rng, ink):
    """A sheet that ends at one side, with a darker desk beyond."""
    light = np.ones((600, 600), np.float32)
    light[:, :rng.integers(60, 120)] = 0.35
    return photograph(rng, ink, light=np.rot90(light, rng.integers(4)))


# Each kind of picture, how many of them (out of 20) must be read right
KINDS = {
    "pen on paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280)), 19),
    "chalk on a board": (lambda rng, digit: photograph(rng, enlarge(digit, 280), paper=0.25, pen=0.8), 19),
    "pale pencil": (lambda rng, digit: photograph(rng, enlarge(digit, 280), pen=0.55), 19),
    "a hard shadow across": (lambda rng, digit: photograph(rng, enlarge(digit, 280), light=shade(rng)), 19),
    "out of focus": (lambda rng, digit: blur(photograph(rng, enlarge(digit, 280)), 8), 19),
    "small in a corner": (lambda rng, digit: photograph(rng, enlarge(digit, 80), left=25, top=500), 19),
    "at the very edge": (lambda rng, digit: photograph(rng, enlarge(digit, 280), left=0), 19),
    "filling the frame": (lambda rng, digit: photograph(rng, enlarge(digit, 600)), 19),
    "specks and a slip": (lambda rng, digit: photograph(rng, enlarge(digit, 250), marks=spatter(rng)), 19),
    "ruled paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280), marks=rule(rng, both=False)), 19),
    "squared paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280), marks=rule(rng, both=True)), 19),
    "a desk at one side": (lambda rng, digit: desk(rng, enlarge(digit, 250)), 19),
    "a crop of 60 pixels": (lambda rng, digit: photograph(rng, enlarge(digit, 45), 60, 60), 19),
    "a thin pen, 12 megapixels": (lambda rng, digit: photograph(rng, trace(digit, 1000, 9), 4000, 3000), 19),
    "one pixel on a screen": (lambda rng, digit: photograph(rng, trace(digit, 220, 1), 280, 280, grain=0), 19),
    "a thick brush": (lambda rng, digit: photograph(rng, trace(digit, 280, 36), 400, 400), 19),
}
