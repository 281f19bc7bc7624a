"""The slides' functions by their shapes, then what a user does with the script."""
import os
import re
import runpy
import signal
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import ROOT
from torchvision import datasets, transforms

import main


def test_every_stage_of_the_network_has_the_shape_that_the_slides_name():
    model, shapes = main.DigitCNN(), []
    x = torch.zeros(3, 1, 28, 28, device=main.device)
    for layer in [*model.conv_layers, *model.fc_layers]:
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(32, 26, 26), (32, 26, 26), (32, 13, 13), (64, 11, 11), (64, 11, 11), (64, 5, 5),
                      (1600,), (64,), (64,), (10,)]


def test_the_network_gives_float32_logits_for_any_number_of_classes():
    assert sum(weights.numel() for weights in main.DigitCNN().parameters()) == 121_930
    logits = main.DigitCNN(27).train()(torch.zeros(2, 1, 28, 28))
    assert logits.shape == (2, 27) and logits.dtype == torch.float32 and logits.device.type == "cpu"


def test_the_loaders_yield_batches_of_images_and_labels(loaders):
    for loader, count in zip(loaders, (4000, 1000)):
        images, labels = next(iter(loader))
        assert images.shape == (64, 1, 28, 28) and images.dtype == torch.float32
        assert images.min() == -1 and images.max() == 1
        assert labels.shape == (64,) and labels.dtype == torch.int64
        assert len(loader.dataset) == count and loader.dataset.classes == list("0123456789")
    assert next(iter(loaders[0]))[1].tolist() != next(iter(loaders[0]))[1].tolist()  # shuffled anew
    assert next(iter(loaders[1]))[1].tolist() == next(iter(loaders[1]))[1].tolist()


def test_each_image_equals_bit_for_bit_what_the_slides_loader_yields(folder):
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    for loader, train in zip(main.load_data(), (True, False)):
        slides = datasets.MNIST("./data", train=train, transform=transform)
        assert all(torch.equal(ours[0], theirs[0]) and ours[1] == theirs[1]
                   for ours, theirs in zip(loader.dataset, slides, strict=True))


def test_training_lowers_the_loss_and_reaches_ninety_percent_and_evaluating_changes_nothing(loaders, capsys):
    torch.manual_seed(1)
    model = main.DigitCNN()
    main.train_model(model, loaders[0], epochs=2)
    before = [weights.clone() for weights in model.parameters()]
    main.evaluate_model(model, loaders[1])
    lines = capsys.readouterr().out.splitlines()
    losses = [float(re.fullmatch(rf"Epoch \[{n}/2\], Loss: (\d+\.\d{{4}})", line)[1]) for n, line in zip((1, 2), lines)]
    assert losses[1] < losses[0] / 2 and float(re.fullmatch(r"Test Accuracy: (\d+\.\d\d)%", lines[2])[1]) > 90
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_the_script_trains_saves_and_loads(folder, answer, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["main.py"])
    answer("Maybe", "", "yes", "")  # two answers that it doesn't take, then yes without a model
    runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    first, errors = capsys.readouterr()
    assert errors == "" and first.count("(y/n)") == 3
    order = ["Loading data...", "Building model...", "No saved model found", "Training...", "Epoch [5/5], Loss: ",
             "Evaluating...", "Test Accuracy: ", "Showing sample predictions...", "saved as predictions.png"]
    assert sorted(order, key=first.index) == order
    assert sorted(os.listdir(folder)) == ["data", "digit_cnn.pth", "predictions.png"]
    answer(" Y ")  # and the input ends
    main.main()
    second = capsys.readouterr().out
    assert "Loaded saved model." in second and "Training" not in second
    assert re.search("Test.*", first)[0] == re.search("Test.*", second)[0]
    main.DigitCNN().load_state_dict(torch.load("digit_cnn.pth"))  # as the slides load it


@pytest.mark.skipif(os.name == "nt", reason="has no pseudo-terminals")
def test_on_a_terminal_the_progress_is_written_over_and_ctrl_c_ends_in_one_line(tmp_path, write_digits):
    write_digits(tmp_path / "data" / "MNIST" / "raw")
    main.save_model(main.DigitCNN(), tmp_path / "digit_cnn.pth")
    before = (tmp_path / "digit_cnn.pth").read_bytes()
    master, slave = os.openpty()
    process = subprocess.Popen([sys.executable, str(ROOT / "main.py")], cwd=tmp_path,
                               stdin=slave, stdout=slave, stderr=slave,  # and as a job in the foreground takes Ctrl-C:
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    os.close(slave)
    os.write(master, b"n\n")
    output = b""
    while b"Epoch [2/5]" not in output:
        output += os.read(master, 1024)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    output = (output + os.read(master, 65536)).decode("ascii")
    os.close(master)
    shown = re.findall(r"\r(Epoch \[1/5\], +\d+ s left)\r", output)
    final = re.findall(r"(Epoch \[1/5\], Loss: \d+\.\d{4})\r\n", output)
    assert shown and len(final) == 1 and len(shown[-1]) <= len(final[0])
    assert output.endswith("\r\nStopped.\r\n") and "Traceback" not in output
    assert sorted(os.listdir(tmp_path)) == ["data", "digit_cnn.pth"]
    assert (tmp_path / "digit_cnn.pth").read_bytes() == before


def test_the_predictions_are_one_figure_of_five_images_and_bar_charts(model, loaders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "close", lambda: None)
    monkeypatch.setattr(main, "sample", lambda numbers, count: list(numbers)[:count])  # the first, not random ones
    main.show_predictions(model, loaders[1])
    axes = plt.gcf().axes
    assert len(axes) == 10
    for image, chart, label in zip(axes[::2], axes[1::2], loaders[1].dataset.tensors[1]):
        heights = [bar.get_height() for bar in chart.patches]
        colours = [bar.get_facecolor() for bar in chart.patches]
        assert image.get_title() == f"Prediction: {int(np.argmax(heights))}"
        assert sum(heights) == pytest.approx(1, abs=1e-5)
        assert colours.count(colours[label]) == 1 and len(set(colours)) == 2
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.undo()
    plt.close("all")


def test_fashion_and_letters_are_read_from_their_own_files(tmp_path, monkeypatch, write_digits, loaders):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "data" / "FashionMNIST" / "raw", size=70)
    assert main.load_data(dataset="fashion")[1].dataset.classes[7] == "Sneaker"
    names = "emnist-letters-train", "emnist-letters-test"
    write_digits(tmp_path / "data" / "EMNIST" / "raw", 70, names, shift=1, turn=True)
    letters = main.load_data(dataset="letters")[1].dataset
    assert letters.classes == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert torch.equal(letters[5][0], loaders[1].dataset[5][0]) and letters[5][1] == loaders[1].dataset[5][1]


def test_a_folder_of_drawings_is_learned_and_the_model_bears_its_name(tmp_path, monkeypatch, answer, loaders, capsys):
    monkeypatch.chdir(tmp_path)
    images, labels = loaders[0].dataset.tensors
    pixels = ((images.squeeze(1) + 1) * 127.5).round().to(torch.uint8).numpy()
    (tmp_path / "shapes").mkdir()
    for digit, name in enumerate(("ring", "stroke")):
        np.save(tmp_path / "shapes" / f"{name}.npy", pixels[labels.numpy() == digit].reshape(-1, 784))
    answer()  # without an input a new model is trained
    main.main("shapes")
    assert sorted(os.listdir()) == ["predictions.png", "shapes", "shapes_cnn.pth"]
    assert float(re.search(r"Test Accuracy: ([\d.]+)%", capsys.readouterr().out)[1]) > 95
