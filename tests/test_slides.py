"""The script's promise: it is the slides' program, and a student's own functions fit in."""
import ast
import io
import re
from pathlib import Path

import pytest
import torch
from conftest import EXAMPLE, SCRIPT, SLIDES, save_drawings, write_digits
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import transforms

import main

ACCURACY = r"Test Accuracy: ([\d.]+)%"


def functions(program):
    """Return the text of each function and class of a program, by its name."""
    lines = program.splitlines()
    parts = [node for node in ast.parse(program).body if hasattr(node, "name")]
    return {part.name: "\n".join(lines[part.lineno - 1:part.end_lineno]) for part in parts}


def without_ours(text):
    """Return a function of ours without marked lines, docstrings and comments."""
    text = re.sub(".*  # [+] .*\n?", "", text)
    text = re.sub(' +"""[^"]*"""\n+', "", text)
    return re.sub(" +# .*", "", text)


OURS, THEIRS = functions(SCRIPT), functions(SLIDES)

# The slides' lines that marked lines replace
CHANGED = [
    "    for i in indices:",
    "        image, _ = dataset[i]",
    '        plt.title(f"Prediction: {pred.item()}")',
    "        plt.show()",
    "def main():",
    "    train_loader, test_loader = load_data()",
    '    use_saved = input("Load saved model? (y/n): ").strip().lower()',
    "            model.load_state_dict(torch.load(model_path))",
    "    train_model(model, train_loader, epochs=5)",
    "    torch.save(model.state_dict(), model_path)",
]

@pytest.mark.parametrize("name", THEIRS)
def test_each_line_is_the_slides_or_marked(name):
    theirs = [line for line in THEIRS[name].splitlines() if line not in CHANGED]
    assert without_ours(OURS[name]).splitlines() == theirs


def test_only_two_functions_have_marked_lines():
    assert [name for name in THEIRS if "# +" in OURS[name]] == ["show_predictions", "main"]


ALL_BUT_MAIN = [name for name in THEIRS if name != "main"]
ALL_BUT_ONE = [name for name in THEIRS if name != "show_predictions"]
SWAPS = [["show_predictions"], ["main"], ALL_BUT_MAIN, ALL_BUT_ONE, list(THEIRS)]

@pytest.mark.parametrize("names", SWAPS, ids=" ".join)
def test_the_slides_functions_fit_in(names, mnist, run, capsys):
    script = SCRIPT
    for name in names:
        script = script.replace(OURS[name], THEIRS[name])
    run("n", script=script)
    accuracy = re.search(ACCURACY, capsys.readouterr().out)[1]
    assert float(accuracy) > 60  # of 480 digits learned; 10 is chance


def test_a_saved_model_reads_as_well_when_our_or_the_slides_code_loads_it(mnist, run, capsys):
    run("n")
    run("y")
    run("y", script=SLIDES)
    trained, *loaded = re.findall(ACCURACY, capsys.readouterr().out)
    assert loaded == [trained, trained]


def test_images_are_bit_for_bit_those_of_the_slides_steps(mnist):
    loader = main.load_data(batch_size=640)[1]
    fast_loader = main.make_fast(loader)
    assert fast_loader is not loader
    for slow, fast in zip(next(iter(loader)), next(iter(fast_loader))):
        assert torch.equal(slow, fast)  # images, then labels


@pytest.mark.parametrize("name", ["transform", "target_transform", "collate_fn"])
def test_what_a_student_adds_to_load_data_is_kept(name, mnist):
    loader = main.load_data()[1]
    for part in loader, loader.dataset:
        setattr(part, name, transforms.RandomRotation(10))
    assert main.make_fast(loader) is loader


def test_a_mistake_in_load_data_ends_in_pythons_own_traceback(mnist, run):
    with pytest.raises(ValueError, match="batch_size"):
        run("n", script=SCRIPT.replace("batch_size=64", "batch_size=0", 1))


def test_a_data_set_without_names_is_shown(loaders, model, folder):
    images = Subset(TensorDataset(*next(iter(loaders[1]))), range(10))
    main.show_predictions(model, DataLoader(images))
    assert Path("predictions.png").exists()


def test_fashion_asks_for_no_photos(folder, run, capsys):
    write_digits("data/FashionMNIST/raw", size=70)
    run("n", words=["fashion"])
    assert Path("fashion_cnn.pth").exists()
    assert "Photo" not in capsys.readouterr().out


def test_letters_are_upright_and_count_from_0(mnist):
    names = "emnist-letters-train", "emnist-letters-test"
    write_digits("data/EMNIST/raw", size=70, names=names, first_label=1)
    image, label = main.get_loaders("letters")[1].dataset[5]
    sideways, digit = main.get_loaders("mnist")[1].dataset[5]
    assert torch.equal(image, sideways.mT) and label == digit


@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font lacks that letter too
def test_a_folder_of_drawings_is_learned_whatever_the_consoles_letters(folder, run, monkeypatch):
    save_drawings("Shapes", lambda digits: digits[:100])
    Path("Shapes/._zero.npy").write_bytes(b"macOS leaves such files")
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", console)
    run("n", str(EXAMPLE), words=["Shapes"])
    assert b"seven.jpg: seven? (" in console.buffer.getvalue()
    assert Path("Shapes/drawing_cnn.pth").exists()
