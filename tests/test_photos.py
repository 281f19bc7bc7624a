"""Digits of one's own: photos of ink on paper or chalk on a board, and drawings with the mouse."""
import struct
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backend_bases import KeyEvent, MouseEvent
from PIL import Image, ImageDraw, ImageFilter

import main

EXAMPLE = Path(__file__).parent / "example" / "seven.jpg"
SIDE = np.where(np.arange(600) < 80, 0.35, 1)
FRAME = np.where(np.abs(np.indices((600, 600)) - 300).max(0) < 270, 1, 0.3)
KINDS = {
    "pen on paper": {}, "chalk on a board": {"paper": 60, "ink": 210}, "pale pencil": {"ink": 150},
    "squared paper": {"lines": 110, "ink": 30}, "squared paper, pale pen": {"lines": 185, "ink": 90},
    "a hard shadow": {"light": np.where(np.arange(600) < 280, 0.5, 1)}, "a thick marker": {"pen": 15},
    "small in a corner": {"size": 90, "place": (20, 490)},
    "filling the frame": {"size": 600, "place": (0, 0)},
    "a desk at one side": {"light": SIDE}, "a dark frame": {"light": FRAME}}


def page(digit, paper=220, ink=40, size=300, place=(150, 160), light=1, lines=None, pen=3):
    """A 600 x 600 picture of a digit, (28, 28) from 0 to 1, `size` pixels large, strokes widened by `pen`."""
    large = Image.fromarray(np.uint8(255 * digit)).resize((size, size)).filter(ImageFilter.MaxFilter(pen))
    picture = squared(paper, lines or paper)
    picture.paste(ink, place, large.point(lambda value: 4 * (value - 102)))  # with sharp edges
    noise = np.random.default_rng(0).normal(0, 4, (600, 600))
    return Image.fromarray(np.uint8((np.asarray(picture) * light + noise).clip(0, 255)))


def squared(paper, lines):
    """A sheet of squared paper, 600 x 600 pixels, in these shades of grey."""
    sheet = Image.new("L", (600, 600), paper)
    for position in range(20, 600, 40):
        ImageDraw.Draw(sheet).line((0, position, 600, position + 9), fill=lines, width=2)
        ImageDraw.Draw(sheet).line((position, 0, position + 9, 600), fill=lines, width=2)
    return sheet


def draw_seven():
    """The picture in example/seven.jpg: a 7 in ink on unevenly lit, squared paper."""
    sheet = squared(230, 180)
    corners = (190, 150), (400, 160), (340, 300), (290, 460)
    ImageDraw.Draw(sheet).line(corners, fill=50, width=14, joint="curve")
    light = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 110 + value * 0.55)
    return Image.composite(sheet, Image.new("L", sheet.size), light).filter(ImageFilter.GaussianBlur(1))


@pytest.fixture(scope="module")
def known(model, loaders):
    """One of each digit, (28, 28) from 0 to 1, the one that the network is surest of."""
    images, labels = loaders[1].dataset.tensors
    with torch.no_grad():
        logits = model(images)
    chosen = [torch.where(labels == digit, logits[:, digit], -1e9).argmax() for digit in range(10)]
    return [images[number, 0].numpy() / 2 + 0.5 for number in chosen]


@pytest.mark.parametrize("kind", KINDS)
def test_reads_digits_in_every_kind_of_picture(kind, model, known, tmp_path):
    read = []
    for digit in known:
        page(digit, **KINDS[kind]).save(tmp_path / "photo.jpg")
        read.append(main.predict_photo(model, tmp_path / "photo.jpg").argmax().item())
    assert sum(guess == label for label, guess in enumerate(read)) >= 9, read


def turned(picture, path):
    """Save a picture on its side, with a note that it is (6) and an impossible one (-1 / 0)."""
    orientation, resolution = (0x0112, 3, 1, 6), (0x011A, 10, 1, 38)
    notes = struct.pack("<2sHIH HHII HHII I iI", b"II", 42, 8, 2, *orientation, *resolution, 0, -1, 0)
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=b"Exif\0\0" + notes)


def in_16_bits(picture, path):
    Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path)


def transparent(picture, path):
    ink = picture.point(lambda value: 255 if value < 60 else 0)
    Image.merge("LA", (Image.new("L", picture.size), ink)).save(path)


FORMATS = {
    "turned.jpg": turned, "transparent.png": transparent,
    "WebP.webp": lambda picture, path: picture.convert("RGB").save(path),
    "16 bits.png": in_16_bits}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_the_files_that_users_have(name, model, tmp_path):
    FORMATS[name](draw_seven(), tmp_path / name)
    assert main.predict_photo(model, tmp_path / name).argmax() == 7


def test_the_example_is_read_as_a_seven(model):
    assert main.predict_photo(model, EXAMPLE).argmax() == 7


FAULTY = {"empty": (b"", "JPEG or PNG"), "a phone's HEIC": (b"\0\0\0\x18ftypheic", "JPEG or PNG"),
          "missing": (None, "No such"), "cut off": (EXAMPLE.read_bytes()[:3000], "truncated"),
          "too large": (b"P4 20000 20000\n", "bomb"),
          "too narrow": (b"P5 1700 2 255\n" + bytes(3400), "narrow|width"),
          "without ink": (b"P5 60 60 255\n" + bytes(3600), "no ink")}


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_a_file_is_told(name, model, tmp_path):
    content, reason = FAULTY[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((OSError, ValueError), match=reason):
        main.predict_photo(model, tmp_path / name)


def test_the_question_comes_again_until_an_empty_line(mnist, run, model, capsys):
    main.save_model(model, "digit_cnn.pth")
    draw_seven().save("it's mine.png")
    run("y", "isn't.jpg", "draw", "it's mine.png", r"it\'s\ mine.png", "& 'it\'s mine.png'", "", "beyond.jpg")
    out, err = capsys.readouterr()
    assert out.count("it's mine.png: 7 (") == 3
    assert [line.partition(":")[0].partition(" (")[0] for line in err.splitlines()] == [
        "isn't.jpg", "No window can be opened to draw in"]


def test_the_figure_shows_32_feature_maps(model, folder):
    main.read_photo(model, list("0123456789"), EXAMPLE)
    panel = plt.gcf().axes[2]
    assert "feature maps" in panel.get_title()
    assert panel.images[0].get_array().shape == (4 * 28 + 2, 8 * 28 + 2)  # four rows of eight


@pytest.fixture
def canvas(model, folder):
    """A page to draw on: the figure's canvas, with its `page` and the `heights` of the bars beside it."""
    page = main.open_page(model, list("0123456789"))
    canvas = plt.gcf().canvas
    canvas.has_ink = lambda: page.getbbox() is not None
    canvas.heights = lambda: [bar.get_height() for bar in canvas.figure.axes[1].patches]
    return canvas


def mouse(canvas, name, place, button=1):
    x, y = canvas.figure.axes[0].transData.transform(place)
    canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, button))


def draw(canvas, corners, steps=1):
    mouse(canvas, "button_press_event", corners[0])
    for start, end in zip(np.array(corners), np.array(corners[1:])):
        for part in np.arange(1, steps + 1) / steps:
            mouse(canvas, "motion_notify_event", start + part * (end - start))
    mouse(canvas, "button_release_event", corners[-1])


SEVEN = (85, 65), (195, 65), (130, 230)
STROKES = {"7": SEVEN, "1": ((140, 50), (138, 230)),
           "1 that leaves the page": ((140, 60), (138, 330), (300, 330))}


@pytest.mark.parametrize("steps", [1, 8], ids=["fast", "slowly"])
@pytest.mark.parametrize("digit", STROKES)
def test_reads_what_is_drawn(digit, steps, canvas):
    draw(canvas, STROKES[digit], steps)
    assert np.argmax(canvas.heights()) == int(digit[0])


def press_space(canvas):
    canvas.callbacks.process("key_press_event", KeyEvent("key_press_event", canvas, " "))


WIPES = {"space bar": press_space,
         "right button": lambda canvas: mouse(canvas, "button_press_event", (9, 9), button=3)}


@pytest.mark.parametrize("wipe", WIPES)
def test_the_page_can_be_wiped(wipe, canvas):
    draw(canvas, SEVEN)
    WIPES[wipe](canvas)
    assert not canvas.has_ink() and not any(canvas.heights())


def test_nothing_is_drawn_while_the_mouse_zooms(canvas):
    canvas.widgetlock(canvas)  # as the toolbar's tools do
    draw(canvas, SEVEN)
    assert not canvas.has_ink()
