"""Digits of one's own: photos of ink on paper or chalk on a board, and drawings with the mouse."""
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import EXAMPLE, NAMES
from matplotlib.backend_bases import KeyEvent, MouseEvent
from PIL import Image, ImageDraw, ImageFilter

import main

SEVEN = (190, 150), (400, 160), (340, 300), (290, 460)
FOUR = (390, 470), (390, 150), (200, 330), (430, 330)
TINY = (30, 510), (80, 512), (55, 580)
LAMP = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 110 + value * 0.55)


def photograph(corners=SEVEN, paper=230, lines=180, ink=50, width=14, lean=9):
    """Return a digit on squared paper; without arguments, the unevenly lit 7 of the example."""
    sheet = Image.new("L", (600, 600), paper)
    pen = ImageDraw.Draw(sheet)
    for position in range(20, 600, 40):
        pen.line((0, position, 600, position + lean), fill=lines, width=2)
        pen.line((position, 0, position + lean, 600), fill=lines, width=2)
    pen.line(corners, fill=ink, width=width, joint="curve")
    sheet = Image.composite(sheet, Image.new("L", sheet.size), LAMP)
    return sheet.filter(ImageFilter.GaussianBlur(1))


SIDEWAYS = photograph().transpose(Image.Transpose.ROTATE_90)
SIDEWAYS_NOTES = Image.Exif()
SIDEWAYS_NOTES[274] = 6  # Orientation: to be turned by 270 degrees
PHOTOS = {
    "7 on level lines.jpg": lambda path: photograph(lines=40, ink=60, lean=0).save(path),
    "4 in pale pencil.jpg": lambda path: photograph(FOUR, lines=230, ink=180).save(path),
    "4 with a marker.jpg": lambda path: photograph(FOUR, width=50).save(path),
    "7 with a thin pen.jpg": lambda path: photograph(lines=230, width=3).save(path),
    "7 in chalk.jpg": lambda path: photograph(paper=60, lines=60, ink=210).save(path),
    "7 in a corner.jpg": lambda path: photograph(TINY).save(path),
    "7 on its side.jpg": lambda path: SIDEWAYS.save(path, exif=SIDEWAYS_NOTES),
    "7 with damaged notes.jpg": lambda path: photograph().save(path, exif=b"Exif\0\0no notes"),
    "7 in 16 bits.tif": lambda path: Image.fromarray(np.uint16(photograph()) * 16).save(path),
}

@pytest.mark.parametrize("name", PHOTOS)
def test_reads_the_digit_in_every_kind_of_photo(name, model, tmp_path):
    PHOTOS[name](tmp_path / name)
    assert main.predict_photo(model, tmp_path / name).argmax() == int(name[0])


FAULTY = {
    "HEIC": (b"\0\0\0\x18ftypheic", "cannot identify"),
    "damaged": (EXAMPLE.read_bytes()[:3000], "truncated"),
    "without ink": (b"P5 60 60 255\n" + bytes(3600), "no ink"),
}

@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_a_file_is_said_in_one_line(name, model, folder, capsys):
    content, reason = FAULTY[name]
    (folder / name).write_bytes(content)
    main.try_photo(model, NAMES, name)
    line = f"{name} can't be read: .*{reason}.*\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_a_network_with_a_mistake_is_no_fault_of_the_photo():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        main.try_photo(torch.nn.Linear(3, 3), NAMES, EXAMPLE)


@pytest.fixture
def page(model):
    """The panel to draw on, in the drawing window."""
    main.make_page(model, NAMES)
    yield plt.gcf().axes[0]
    plt.close("all")


def heights():
    """Return the heights of the bars, in the window's other panel."""
    return [bar.get_height() for bar in plt.gcf().axes[1].patches]


def press(page, points):
    """Press the left button at the first of the points, move to the others, and let it go."""
    moves = ["motion_notify_event"] * (len(points) - 1)
    names = ["button_press_event", *moves, "button_release_event"]
    places = page.transData.transform([*points, points[-1]])
    for name, (x, y) in zip(names, places):
        event = MouseEvent(name, page.figure.canvas, x, y, button=1)
        event.canvas.callbacks.process(name, event)  # as a real window does


STROKES = {
    "7": ((85, 65), (195, 65), (130, 230)),
    "1 that leaves the page": ((140, 40), (139, 235), (300, 330)),
}

@pytest.mark.parametrize("digit", STROKES)
def test_reads_what_is_drawn(digit, page):
    press(page, STROKES[digit])
    assert np.argmax(heights()) == int(digit[0])


def test_the_page_can_be_wiped_and_drawn_on_again(page):
    press(page, STROKES["7"])
    space = KeyEvent("key_press_event", page.figure.canvas, " ")
    space.canvas.callbacks.process(space.name, space)
    assert not any(heights())
    press(page, [(140, 50), (138, 230)])
    assert np.argmax(heights()) == 1
