"""Smoke tests on tensor shapes, and the photo reader's steps: to run after every change."""
import pytest
import torch
from conftest import EXAMPLE

import main

SHAPES = [
    (32, 26, 26), (32, 26, 26), (32, 13, 13),  # Conv2d, ReLU, MaxPool2d
    (64, 11, 11), (64, 11, 11), (64, 5, 5),    # Conv2d, ReLU, MaxPool2d
    (64 * 5 * 5,), (64,), (64,), (10,),        # Flatten, Linear, ReLU, Linear
]


def test_a_batch_has_64_images_of_28_by_28(loaders):
    images, labels = next(iter(loaders[0]))
    assert (images.shape, labels.shape) == ((64, 1, 28, 28), (64,))


def test_the_shape_of_two_images_after_each_layer():
    model = main.DigitCNN()
    x = torch.zeros(2, 1, 28, 28)
    for layer, shape in zip([*model.conv_layers, *model.fc_layers], SHAPES, strict=True):
        x = layer(x)
        assert x.shape == (2, *shape)


def test_a_photo_becomes_an_image_like_mnists():
    (photo, strokes, piece, image), probabilities = main.read_photo(main.DigitCNN(), EXAMPLE)
    assert photo.shape == strokes.shape == piece.shape == (1, 400, 400)
    assert image.shape == (1, 28, 28)
    assert probabilities.shape == (10,)


def box(left, top, right, bottom, size=200):
    """Return a white (1) box on black (0), (1, size, size)."""
    image = torch.zeros(1, size, size)
    image[:, top:bottom, left:right] = 1
    return image


STROKE = box(100, 60, 110, 140)
DOT = box(20, 20, 24, 24)
THIN = box(99, 60, 101, 138)  # 2 pixels wide: becomes 6 wide, from 41 to 47 of 88
SQUARE = box(60, 60, 78, 78)  # 18 x 18 pixels: goes to the middle, from 5 to 23 of 28
LINE = box(0, 160, 200, 162)
BLOT = box(96, 8, 152, 64)
PAPER = torch.full((1, 200, 200), 0.6)
STEPS = {
    "a dilation widens": (main.dilate, (STROKE, 1, 5), box(98, 60, 112, 140)),
    "chalk becomes dark": (main.invert_chalk, (STROKE,), 1 - STROKE),
    "the paper is also found below ink": (main.find_paper, (PAPER * (1 - STROKE),), PAPER),
    "ink is bright": (main.find_ink, (PAPER * (1 - STROKE), PAPER), STROKE),
    "a ruled line is removed": (main.remove_lines, (STROKE + LINE,), STROKE),
    "a picture of nothing but a line stays": (main.remove_lines, (LINE,), LINE),
    "pale ink is left out": (main.keep_strokes, (STROKE + 0.2 * DOT, 0.25), STROKE),
    "the denser piece is kept": (main.keep_one_piece, (STROKE + DOT,), STROKE),
    "one of two equal pieces is kept": (main.keep_one_piece, (BLOT + BLOT.mT,), BLOT),
    "a thin stroke is widened": (main.widen_strokes, (THIN,), box(41, 3, 47, 85, 88)),
    "a digit is centred": (main.centre_digit, (SQUARE,), box(5, 5, 23, 23, 28)),
}

@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_the_photo_reader(name):
    step, inputs, expected = STEPS[name]
    assert step(*inputs).allclose(expected, atol=1e-5)
