"""Digits of one's own: photos of ink on paper or chalk on a board, and drawings with the mouse."""
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import EXAMPLE, NAMES
from matplotlib.backend_bases import MouseEvent
from PIL import Image, ImageDraw, ImageFilter, features

import main

SEVEN = (190, 150), (400, 160), (340, 300), (290, 460)
LAMP = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 110 + value * 0.55)
SHADOW = LAMP.point(lambda value: 255 if value < 150 else 120)  # on the lower part


def photograph(corners=SEVEN, paper=230, lines=180, ink=50, width=14, light=LAMP, slope=9):
    """Return a digit on squared paper; without arguments, the unevenly lit 7 of the example."""
    sheet = Image.new("L", (600, 600), paper)
    pen = ImageDraw.Draw(sheet)
    for position in range(20, 600, 40):
        pen.line((0, position, 600, position + slope), fill=lines, width=2)
        pen.line((position, 0, position + slope, 600), fill=lines, width=2)

    pen.line(corners, fill=ink, width=width, joint="curve")
    sheet = Image.composite(sheet, Image.new("L", sheet.size), light)
    return sheet.filter(ImageFilter.GaussianBlur(1))


def save_on_its_side(path):
    """Save a photo as a phone that was held sideways does: with a note (EXIF) to turn it."""
    notes = Image.Exif()
    orientation = 274
    notes[orientation] = 6  # by 270 degrees
    photograph().transpose(Image.Transpose.ROTATE_90).save(path, exif=notes)


def save_transparent(path):
    ink = photograph().point(lambda value: 255 if value < 60 else 0)
    Image.merge("LA", (Image.new("L", ink.size), ink)).save(path)


def save_as_a_scanner(path):
    """Save a photo with 16 bits for each pixel, of which it uses 12."""
    pixels = np.array(photograph(), dtype=np.uint16)
    Image.fromarray(pixels * 16).save(path)


CORNER = (30, 510), (80, 512), (55, 580)
PHOTOS = {
    "squared paper.jpg": lambda path: photograph().save(path),
    "dark squares.jpg": lambda path: photograph(lines=60, ink=60).save(path),
    "level squares.jpg": lambda path: photograph(lines=70, ink=60, slope=0).save(path),
    "pale pen.jpg": lambda path: photograph(ink=120).save(path),
    "pale pencil.jpg": lambda path: photograph(lines=230, ink=180).save(path),
    "marker.jpg": lambda path: photograph(width=60).save(path),
    "thin pen.jpg": lambda path: photograph(lines=230, width=3).save(path),
    "chalk.jpg": lambda path: photograph(paper=60, lines=60, ink=210).save(path),
    "hard shadow.jpg": lambda path: photograph(light=SHADOW).save(path),
    "in a corner.jpg": lambda path: photograph(CORNER).save(path),
    "on its side.jpg": save_on_its_side,
    "damaged notes.jpg": lambda path: photograph().save(path, exif=b"Exif\0\0no notes"),
    "transparent.png": save_transparent,
    "16 bits.png": save_as_a_scanner,
    "16 bits.tif": save_as_a_scanner,
    "colours.webp": lambda path: photograph().convert("RGB").save(path),
    "for print.jpg": lambda path: photograph().convert("CMYK").save(path),
    "the example.jpg": lambda path: path.write_bytes(EXAMPLE.read_bytes()),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_reads_a_seven_in_every_kind_of_photo(name, model, tmp_path):
    PHOTOS[name](tmp_path / name)
    assert main.predict_photo(model, tmp_path / name).argmax() == 7


def damaged_avif():
    """Return an AVIF file that Pillow opens but can't decode."""
    file = io.BytesIO()
    photograph().save(file, "AVIF")
    content = file.getvalue()
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200:]


FAULTY = {
    "empty": (b"", "cannot identify"),
    "HEIC": (b"\0\0\0\x18ftypheic", "cannot identify"),
    "cut off": (EXAMPLE.read_bytes()[:3000], "truncated"),
    "too large": (b"P4 20000 20000\n", "bomb"),
    "too narrow": (b"P5 1700 2 255\n" + bytes(3400), "narrow"),
    "without ink": (b"P5 60 60 255\n" + bytes(3600), "no ink"),
}
if features.check("avif"):
    FAULTY["damaged AVIF"] = damaged_avif(), "decode"


@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_a_file_is_said_in_one_line(name, model, folder, capsys):
    content, reason = FAULTY[name]
    (folder / name).write_bytes(content)
    main.try_photo(model, NAMES, name)
    error = capsys.readouterr().err
    assert error.startswith(f"{name} can't be read: ") and reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("mistake", [RuntimeError, ValueError, OSError])
def test_a_students_mistake_in_the_network_is_no_fault_of_the_photo(mistake):
    class Mistaken(main.DigitCNN):
        def forward(self, x):
            raise mistake("in forward")

    with pytest.raises(mistake, match="in forward"):
        main.try_photo(Mistaken(), NAMES, EXAMPLE)


def test_the_figure_shows_the_steps_and_32_feature_maps(model, folder, monkeypatch):
    monkeypatch.setattr(main, "show_figure", lambda path: None)  # would close it
    main.try_photo(model, NAMES, EXAMPLE)
    shapes = [panel.images[0].get_array().shape for panel in plt.gcf().axes[:5]]
    assert shapes[:4] == [(400, 400), (400, 400), (400, 400), (28, 28)]
    assert shapes[4] == (4 * 28 + 2, 8 * 28 + 2)  # four rows of eight, 26 pixels and a border each


@pytest.fixture
def page(model):
    """The panel to draw on, with a function that returns the heights of the bars beside it."""
    bars = main.make_page(model, NAMES)
    page = plt.gcf().axes[0]
    page.heights = lambda: [bar.get_height() for bar in bars]
    yield page
    plt.close("all")


def press(page, corners, button=1, steps=1):
    """Press a button at the first of the corners, and move to the others in so many steps each."""
    points = [corners[0]]
    for start, end in zip(np.array(corners), np.array(corners[1:])):
        points += [start + step / steps * (end - start) for step in range(1, steps + 1)]

    moves = ["motion_notify_event"] * (len(points) - 1)
    names = ["button_press_event", *moves, "button_release_event"]
    places = page.transData.transform([*points, points[-1]])
    for name, (x, y) in zip(names, places):
        event = MouseEvent(name, page.figure.canvas, x, y, button)
        event.canvas.callbacks.process(name, event)


STROKES = {
    "7": ((85, 65), (195, 65), (130, 230)),
    "1": ((140, 50), (138, 230)),
    "1 that leaves the page and comes back": ((140, 40), (139, 235), (139, 330), (139, 230)),
}


@pytest.mark.parametrize("steps", [1, 8], ids=["fast", "slowly"])
@pytest.mark.parametrize("digit", STROKES)
def test_reads_what_is_drawn(digit, steps, page):
    press(page, STROKES[digit], steps=steps)
    assert np.argmax(page.heights()) == int(digit[0])


def test_a_stroke_that_leaves_the_page_ends(page):
    press(page, [(30, 140), (30, -60), (250, -60), (250, 140)])
    pixels = page.images[0].get_array()
    assert pixels[:, 100:200].max() == 0  # no line between the two points


def test_the_page_can_be_wiped_and_drawn_on_again(page):
    press(page, STROKES["7"])
    press(page, [(9, 9)], button=3)
    assert not any(page.heights())
    press(page, STROKES["1"])
    assert np.argmax(page.heights()) == 1


def test_the_window_has_no_toolbar_which_would_zoom_and_draw_at_once(page):
    assert page.figure.canvas.manager.toolbar is None
