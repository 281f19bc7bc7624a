"""The script's promise: it is the slides' program, and any function that a student wrote fits in."""
import ast
import re

import pytest
import torch
from conftest import SCRIPT, SLIDES
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import datasets, transforms

import main

ACCURACY = r"Test Accuracy: ([\d.]+)%"


def functions(program):
    """Return the text of each function and class of a program, by its name."""
    lines = program.splitlines()
    parts = [node for node in ast.parse(program).body if hasattr(node, "name")]
    return {part.name: "\n".join(lines[part.lineno - 1:part.end_lineno]) for part in parts}


OURS, THEIRS = functions(SCRIPT), functions(SLIDES)


def without_docstrings_and_comments(text):
    """Return a function's text as on the slide, with its blank lines."""
    text = re.sub(r'\n +"""(?s:.*?)"""(\n(?=\n))?', "", text)
    return re.sub(r" +# .*", "", text)


@pytest.mark.parametrize("name", ["load_data", "DigitCNN", "train_model", "evaluate_model"])
def test_a_function_is_the_slides_word_for_word(name):
    assert without_docstrings_and_comments(OURS[name]) == THEIRS[name]


@pytest.mark.parametrize("name", ["show_predictions", "main"])
def test_each_line_that_no_slide_shows_is_marked(name):
    unmarked = re.sub(r"\n.*  # \+ .*", "", OURS[name])
    lines = without_docstrings_and_comments(unmarked).splitlines()[1:]
    slide = iter(THEIRS[name].splitlines())
    assert [line for line in lines if line not in slide] == []  # `in` goes on where it stopped


SWAPS = [
    ["show_predictions"],
    ["main"],
    [name for name in THEIRS if name != "show_predictions"],
    [name for name in THEIRS if name != "main"],
    list(THEIRS),
]


@pytest.mark.parametrize("names", SWAPS, ids=" ".join)
def test_the_slides_functions_fit_in(names, mnist, run, capsys):
    script = SCRIPT
    for name in names:
        script = script.replace(OURS[name], THEIRS[name])
    run("n", script=script)
    accuracy = re.search(ACCURACY, capsys.readouterr().out)[1]
    assert float(accuracy) > 60  # of 640 digits learned; 10 is chance


def test_a_saved_model_reads_as_well_when_it_is_loaded(mnist, run, capsys):
    run("n")
    run("Maybe", "Yes")
    trained, loaded = re.findall(ACCURACY, capsys.readouterr().out)
    assert trained == loaded


def test_the_slides_code_loads_our_model(mnist, run, capsys):
    run("n")
    run("y", script=SLIDES)
    trained, loaded = re.findall(ACCURACY, capsys.readouterr().out)
    assert trained == loaded


NUMBERS = [(0.5, 0.5), (0.1307, 0.3081)]


@pytest.mark.parametrize("mean, deviation", NUMBERS)
def test_images_are_bit_for_bit_those_of_the_slides_steps(mean, deviation, mnist):
    steps = [transforms.ToTensor(), transforms.Normalize((mean,), (deviation,))]
    data = datasets.MNIST("./data", transform=transforms.Compose(steps))
    loader = DataLoader(data, batch_size=640)
    images, labels = next(iter(loader))
    fast_images, fast_labels = next(iter(main.make_fast(loader)))
    assert torch.equal(images, fast_images)
    assert torch.equal(labels, fast_labels)


def test_a_random_transform_stays_random(mnist):
    steps = [transforms.RandomRotation(10), transforms.ToTensor()]
    data = datasets.MNIST("./data", transform=transforms.Compose(steps))
    loader = DataLoader(data)
    assert main.make_fast(loader) is loader


def test_a_students_normalize_of_three_numbers_ends_in_pythons_own_traceback(mnist, run):
    three = "Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))"
    script = SCRIPT.replace("Normalize((0.5,), (0.5,))", three, 1)
    with pytest.raises(RuntimeError, match="shape"):
        run("n", script=script)


def test_a_training_loop_may_ask_for_the_number_of_batches_and_images(mnist):
    loader = main.DeviceLoader(main.get_loaders("mnist")[0])
    assert len(loader) == len(list(loader)) == 10
    assert len(loader.dataset) == 640


OTHER_DATA_SETS = {
    "Subset": lambda dataset: Subset(dataset, range(10)),
    "TensorDataset": lambda dataset: TensorDataset(*dataset[list(range(10))]),
    "MNIST": lambda dataset: datasets.MNIST("data", transform=transforms.ToTensor()),
}


@pytest.mark.parametrize("name", OTHER_DATA_SETS)
def test_predictions_of_a_students_data_set_have_the_digits_names(name, mnist, model, folder):
    dataset = main.get_loaders("mnist")[1].dataset
    loader = DataLoader(OTHER_DATA_SETS[name](dataset))
    main.show_predictions(model, loader)
    assert main.get_names(loader.dataset) == list("0123456789")
    assert (folder / "predictions.png").exists()
