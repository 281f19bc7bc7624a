"""Digits of one's own: photos of ink on paper or chalk on a board, and drawings with the mouse."""
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import EXAMPLE
from matplotlib.backend_bases import MouseEvent
from PIL import Image, ImageDraw, ImageFilter, features

import main

SEVEN = (190, 150), (400, 160), (340, 300), (290, 460)
LAMP = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 110 + value * 0.55)
SHADOW = LAMP.point(lambda value: 255 if value < 150 else 120)  # on the lower part


def photograph(corners=SEVEN, paper=230, lines=180, ink=50, width=14, light=LAMP, tilt=9):
    """Return a digit on squared paper; without arguments, the unevenly lit 7 of the example."""
    sheet = Image.new("L", (600, 600), paper)
    pen = ImageDraw.Draw(sheet)
    for position in range(20, 600, 40):
        pen.line((0, position, 600, position + tilt), fill=lines, width=2)
        pen.line((position, 0, position + tilt, 600), fill=lines, width=2)
    pen.line(corners, fill=ink, width=width, joint="curve")

    dark = Image.new("L", sheet.size)
    return Image.composite(sheet, dark, light).filter(ImageFilter.GaussianBlur(1))


KINDS = {
    "squared paper": {},
    "dark squares": {"lines": 60, "ink": 60},
    "ruled lines as dark as the ink": {"lines": 50, "width": 6, "tilt": 0},
    "pale pen": {"ink": 120},
    "white paper": {"lines": 230},
    "pale pencil": {"lines": 230, "ink": 180},
    "marker": {"width": 60},
    "thin pen": {"lines": 230, "width": 3},
    "chalk": {"paper": 60, "lines": 60, "ink": 210},
    "hard shadow": {"light": SHADOW},
    "in a corner": {"corners": ((30, 510), (80, 512), (55, 580))},
}


@pytest.mark.parametrize("kind", KINDS)
def test_reads_a_seven_in_every_kind_of_photo(kind, model, tmp_path):
    photograph(**KINDS[kind]).save(tmp_path / "photo.jpg")
    assert main.predict_photo(model, tmp_path / "photo.jpg").argmax() == 7


def test_reads_mnists_digits_on_paper(model, loaders, tmp_path):
    right = 0
    images, labels = next(iter(loaders[1]))
    for image, label in zip(images[:50], labels):
        digit = Image.fromarray(np.uint8(image[0] * 127 + 127)).resize((200, 200))
        paper = Image.new("L", (600, 600), 220)
        paper.paste(40, (50, 350), digit)
        paper.save(tmp_path / "photo.png")
        right += (main.predict_photo(model, tmp_path / "photo.png").argmax() == label).item()
    assert right >= 42  # this little network reads about 95 % of the images themselves


def save_on_its_side(photo, path):
    """Save a photo as a phone does that was held sideways: turned, with a note (EXIF) of how."""
    notes = Image.Exif()
    notes[274] = 6  # Orientation: turn it by 270 degrees
    photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=notes)


def save_with_damaged_notes(photo, path):
    """Save a photo with EXIF notes that are no notes."""
    photo.save(path, exif=b"Exif\0\0nothing of the kind")


def save_transparent(photo, path):
    ink = photo.point(lambda value: 255 if value < 60 else 0)
    black = Image.new("L", photo.size)
    Image.merge("LA", (black, ink)).save(path)


def save_as_a_scanner(photo, path):
    """Save a photo with 16 bits for each pixel, of which it uses 12."""
    pixels = np.array(photo, dtype=np.uint16) * 16
    Image.fromarray(pixels).save(path)


FORMATS = {
    "on its side.jpg": save_on_its_side,
    "damaged notes.jpg": save_with_damaged_notes,
    "transparent.png": save_transparent,
    "16 bits.png": save_as_a_scanner,
    "16 bits.tif": save_as_a_scanner,
    "colours.webp": lambda photo, path: photo.convert("RGB").save(path),
    "few colours.gif": lambda photo, path: photo.convert("P").save(path),
    "for print.jpg": lambda photo, path: photo.convert("CMYK").save(path),
    "the example.jpg": lambda photo, path: path.write_bytes(EXAMPLE.read_bytes()),
}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_the_formats_that_users_have(name, model, tmp_path):
    FORMATS[name](photograph(), tmp_path / name)
    assert main.predict_photo(model, tmp_path / name).argmax() == 7


def damaged_avif():
    """Return an AVIF file with a part overwritten, which Pillow opens but can't decode."""
    file = io.BytesIO()
    photograph().save(file, "AVIF")
    content = bytearray(file.getvalue())
    middle = len(content) // 2
    content[middle:middle + 200] = bytes(200)
    return bytes(content)


FAULTY = {
    "empty": (b"", "cannot identify"),
    "HEIC": (b"\0\0\0\x18ftypheic", "cannot identify"),
    "cut off": (EXAMPLE.read_bytes()[:3000], "truncated"),
    "too large": (b"P4 20000 20000\n", "bomb"),
    "too narrow": (b"P5 1700 2 255\n" + bytes(3400), "narrow"),
    "without ink": (b"P5 60 60 255\n" + bytes(3600), "no ink"),
    "missing": (None, "No such file"),
}
if features.check("avif"):
    FAULTY["AVIF"] = damaged_avif(), "decode"


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_a_file_is_said_in_one_line(name, model, folder, capsys):
    content, reason = FAULTY[name]
    if content is not None:
        (folder / name).write_bytes(content)
    main.try_photo(model, main.get_names(None), name)
    error = capsys.readouterr().err
    assert error.startswith(f"{name} can't be read: ") and reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("mistake", [RuntimeError, ValueError, OSError])
def test_a_students_mistake_in_the_network_is_no_fault_of_the_photo(mistake, model):
    class Mistaken(main.DigitCNN):
        def forward(self, x):
            raise mistake("in forward")

    with pytest.raises(mistake, match="in forward"):
        main.try_photo(Mistaken(), main.get_names(None), EXAMPLE)


def test_the_figure_shows_the_steps_and_32_feature_maps(model, folder, monkeypatch):
    monkeypatch.setattr(main, "show_figure", lambda path: None)  # would close it
    main.try_photo(model, main.get_names(None), EXAMPLE)
    panels = [panel.images[0].get_array().shape for panel in plt.gcf().axes[:5]]
    assert panels[:4] == [(400, 400), (400, 400), (400, 400), (28, 28)]
    assert panels[4] == (4 * 28 + 2, 8 * 28 + 2)  # four rows of eight, 26 pixels and a border each


@pytest.fixture
def canvas(model):
    """The canvas of a figure to draw in, with its `bars`."""
    bars = main.make_page(model, main.get_names(None))
    canvas = plt.gcf().canvas
    canvas.heights = lambda: [bar.get_height() for bar in bars]
    yield canvas
    plt.close("all")


def press(canvas, corners, button=1, steps=1):
    """Press a button at the first of the corners, and move to the others in so many steps each."""
    points = [corners[0]]
    for start, end in zip(np.array(corners), np.array(corners[1:])):
        points += [start + step / steps * (end - start) for step in range(1, steps + 1)]

    names = ["button_press_event", *["motion_notify_event"] * (len(points) - 1)]
    names.append("button_release_event")
    places = canvas.figure.axes[0].transData.transform([*points, points[-1]])
    for name, (x, y) in zip(names, places):
        canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, button))


STROKES = {
    "7": ((85, 65), (195, 65), (130, 230)),
    "1": ((140, 50), (138, 230)),
    "1 that leaves the page and comes back": ((140, 40), (139, 235), (139, 330), (139, 230)),
}


@pytest.mark.parametrize("steps", [1, 8], ids=["fast", "slowly"])
@pytest.mark.parametrize("digit", STROKES)
def test_reads_what_is_drawn(digit, steps, canvas):
    press(canvas, STROKES[digit], steps=steps)
    assert np.argmax(canvas.heights()) == int(digit[0])


def test_a_stroke_that_leaves_the_page_ends(canvas):
    press(canvas, [(30, 140), (30, -60), (250, -60), (250, 140)])
    page = canvas.figure.axes[0].images[0].get_array()
    assert page[:, 100:200].max() == 0  # no line between the two points


def test_a_click_beside_the_page_draws_nothing(canvas):
    press(canvas, [(400, 100)])
    assert not any(canvas.heights())


def test_the_page_can_be_wiped_and_drawn_on_again(canvas):
    press(canvas, STROKES["7"])
    press(canvas, [(9, 9)], button=3)
    assert not any(canvas.heights())
    press(canvas, STROKES["1"])
    assert np.argmax(canvas.heights()) == 1


def test_the_window_to_draw_in_has_no_toolbar_to_zoom_with(canvas):
    assert canvas.manager.toolbar is None
