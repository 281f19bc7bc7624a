"""Smoke tests on tensor shapes, to run after every change. The numbers are those of the slides."""
import pytest
import torch

import main

SHAPES = {"Conv2d": (32, 26, 26), "ReLU": (32, 26, 26), "MaxPool2d": (32, 13, 13),
          "2nd Conv2d": (64, 11, 11), "2nd ReLU": (64, 11, 11), "2nd MaxPool2d": (64, 5, 5)}


def test_a_batch_has_64_images_of_28_by_28(loaders):
    images, labels = next(iter(loaders[0]))
    assert (images.shape, labels.shape) == ((64, 1, 28, 28), (64,))


@pytest.mark.parametrize("number, name", list(enumerate(SHAPES, start=1)))
def test_each_convolutional_layer(number, name):
    first_layers = main.DigitCNN().conv_layers[:number]
    assert first_layers(torch.zeros(2, 1, 28, 28)).shape == (2, *SHAPES[name])


def test_flatten_gives_1600_numbers():
    flatten = main.DigitCNN().fc_layers[0]
    assert flatten(torch.zeros(2, 64, 5, 5)).shape == (2, 1600)


def test_the_network_gives_a_score_for_each_of_ten_digits():
    assert main.DigitCNN()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_the_network_has_121930_parameters():
    assert sum(weights.numel() for weights in main.DigitCNN().parameters()) == 121_930


def test_softmax_makes_probabilities_that_sum_to_1():
    _, probabilities = main.recognize(main.DigitCNN(), torch.zeros(4, 1, 28, 28))
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_a_photo_becomes_an_image_for_each_of_four_levels_of_ink():
    picture = torch.ones(1, 300, 400)
    picture[:, 100:200, 190:210] = 0  # a 1 in black on white
    assert main.prepare_photo(picture).shape == (4, 1, 28, 28)


def test_another_last_layer_gives_26_letters():
    model = main.DigitCNN()
    model.fc_layers[-1] = torch.nn.Linear(64, 26)
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 26)
