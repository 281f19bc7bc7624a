"""Smoke tests on tensor shapes, to run after every change. 64 * 5 * 5 = 1600, 64 and 10 are the slides'."""
import pytest
import torch
from conftest import EXAMPLE

import main

LAYERS = [
    ("Conv2d", (32, 26, 26)),
    ("ReLU", (32, 26, 26)),
    ("MaxPool2d", (32, 13, 13)),
    ("second Conv2d", (64, 11, 11)),
    ("second ReLU", (64, 11, 11)),
    ("second MaxPool2d", (64, 5, 5)),
    ("Flatten", (1600,)),
    ("Linear", (64,)),
    ("third ReLU", (64,)),
    ("second Linear", (10,)),
]


def test_a_batch_has_64_images_of_28_by_28(loaders):
    images, labels = next(iter(loaders[0]))
    assert images.shape == (64, 1, 28, 28)
    assert labels.shape == (64,)


@pytest.mark.parametrize("number", range(10), ids=[name for name, _ in LAYERS])
def test_two_images_after_each_layer(number):
    model = main.DigitCNN()
    layers = [*model.conv_layers, *model.fc_layers]
    network = torch.nn.Sequential(*layers[:number + 1])
    name, shape = LAYERS[number]
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, *shape)


def test_the_network_has_121930_parameters():
    model = main.DigitCNN()
    assert sum(weights.numel() for weights in model.parameters()) == 121_930


def test_a_photo_becomes_an_image_like_mnists():
    steps, probabilities = main.read_photo(main.DigitCNN(), EXAMPLE)
    *_, image = steps.values()
    assert image.shape == (1, 28, 28)
    assert probabilities.shape == (10,)
