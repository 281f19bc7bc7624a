"""The script's promise: any function that a student wrote from the slides fits in."""
import ast
import re

import pytest
import torch
from conftest import SCRIPT, SLIDES
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

import main

ACCURACY = r"Test Accuracy: ([\d.]+)%"

def functions(program):
    """Return the text of each function of a program, by its name."""
    parts = [node for node in ast.parse(program).body if hasattr(node, "name")]
    return {node.name: ast.get_source_segment(program, node) for node in parts}

NAMES = list(functions(SLIDES))
ONE_OF_THEIRS = [[name] for name in NAMES]  # each of the slides' functions alone in our script
ONE_OF_OURS = [[other for other in NAMES if other != name] for name in NAMES]  # all of them but one

@pytest.mark.parametrize("names", ONE_OF_THEIRS + ONE_OF_OURS, ids=" ".join)
def test_the_slides_functions_fit_in(names, mnist, run, capsys):
    script = SCRIPT
    for name in names:
        script = script.replace(functions(SCRIPT)[name], functions(SLIDES)[name])
    run("n", script=script)
    assert float(re.search(ACCURACY, capsys.readouterr().out)[1]) > 60  # of 640 digits learned; 10 is chance

def test_a_saved_model_reads_as_well_when_it_is_loaded(mnist, run, capsys):
    run("n")
    run("Maybe", "Yes")
    trained, loaded = re.findall(ACCURACY, capsys.readouterr().out)
    assert trained == loaded

@pytest.mark.parametrize("mean, deviation", [(0.5, 0.5), (0.1307, 0.3081)])
def test_images_are_bit_for_bit_those_of_the_slides_steps(mean, deviation, mnist):
    steps = transforms.ToTensor(), transforms.Normalize((mean,), (deviation,))
    loader = DataLoader(datasets.MNIST("./data", transform=transforms.Compose(steps)), batch_size=640)
    for slow, fast in zip(next(iter(loader)), next(iter(main.make_fast(loader)))):  # images, then labels
        assert torch.equal(slow, fast)

def test_a_random_transform_stays_random(mnist):
    steps = transforms.RandomRotation(10), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))
    loader = DataLoader(datasets.MNIST("./data", transform=transforms.Compose(steps)))
    assert main.make_fast(loader) is loader
