"""Smoke tests on tensor shapes, to run after every change (1600 is the slides' 64 * 5 * 5)."""
import pytest
import torch
from conftest import EXAMPLE

import main

LAYERS = {
    "Conv2d": (32, 26, 26), "ReLU": (32, 26, 26), "MaxPool2d": (32, 13, 13),
    "2nd Conv2d": (64, 11, 11), "2nd ReLU": (64, 11, 11), "2nd MaxPool2d": (64, 5, 5),
    "Flatten": (1600,), "Linear": (64,), "3rd ReLU": (64,), "2nd Linear": (10,),
}


def test_a_batch_has_64_images_of_28_by_28(loaders):
    images, labels = next(iter(loaders[0]))
    assert (images.shape, labels.shape) == ((64, 1, 28, 28), (64,))


@pytest.mark.parametrize("number, name", list(enumerate(LAYERS, start=1)))
def test_two_images_after_each_layer(number, name):
    model = main.DigitCNN()
    layers = [*model.conv_layers, *model.fc_layers]
    first_layers = torch.nn.Sequential(*layers[:number])
    assert first_layers(torch.zeros(2, 1, 28, 28)).shape == (2, *LAYERS[name])


def test_a_photo_becomes_an_image_like_mnists():
    (photo, strokes, piece, image), probabilities = main.read_photo(main.DigitCNN(), EXAMPLE)
    assert photo.shape == strokes.shape == piece.shape == (1, 400, 400)
    assert image.shape == (1, 28, 28)
    assert probabilities.shape == (10,)


def test_a_dilation_widens_and_an_erosion_narrows():
    thin = torch.tensor([[[0.0, 0, 1, 0, 0]]])
    wide = torch.tensor([[[0.0, 1, 1, 1, 0]]])
    assert torch.equal(main.dilate(thin, 1, 3), wide)
    assert torch.equal(main.erode(wide, 1, 3), thin)
