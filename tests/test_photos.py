"""Digits of one's own: photos of ink on paper or chalk on a board, and drawings with the mouse."""
import struct

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import EXAMPLE
from matplotlib.backend_bases import KeyEvent, MouseEvent
from PIL import Image, ImageDraw, ImageFilter

import main

SEVEN = (190, 150), (400, 160), (340, 300), (290, 460)
LAMP = Image.linear_gradient("L").resize((600, 600)).point(lambda value: 110 + value * 0.55)
SHADOW = LAMP.point(lambda value: 255 if value < 150 else 120)  # on the lower part

def draw(corners=SEVEN, paper=230, lines=180, ink=50, width=14, light=LAMP):
    """Draw a digit on squared paper; without arguments, the unevenly lit 7 of example/seven.jpg."""
    sheet = Image.new("L", (600, 600), paper)
    pen = ImageDraw.Draw(sheet)
    for position in range(20, 600, 40):
        pen.line((0, position, 600, position + 9), fill=lines, width=2)
        pen.line((position, 0, position + 9, 600), fill=lines, width=2)
    pen.line(corners, fill=ink, width=width, joint="curve")
    return Image.composite(sheet, Image.new("L", sheet.size), light).filter(ImageFilter.GaussianBlur(1))

KINDS = {"squared paper": {}, "dark squares": {"lines": 60, "ink": 60}, "pale pen": {"ink": 120},
         "white paper": {"lines": 230}, "pale pencil": {"lines": 230, "ink": 180}, "marker": {"width": 60},
         "thin pen": {"lines": 230, "width": 3}, "chalk": {"paper": 60, "lines": 60, "ink": 210},
         "hard shadow": {"light": SHADOW}, "in a corner": {"corners": ((30, 510), (80, 512), (55, 580))}}

@pytest.mark.parametrize("kind", KINDS)
def test_reads_a_seven_in_every_kind_of_picture(kind, model, tmp_path):
    draw(**KINDS[kind]).save(tmp_path / "photo.jpg")
    assert main.predict_photo(model, tmp_path / "photo.jpg").argmax() == 7

def test_reads_mnists_digits_on_paper(model, loaders, tmp_path):
    right = 0
    for image, label in zip(*loaders[1].dataset[:50]):
        paper = Image.new("L", (600, 600), 220)
        paper.paste(40, (50, 350), Image.fromarray(np.uint8(image[0] * 127 + 127)).resize((200, 200)))
        paper.save(tmp_path / "photo.png")
        right += (main.predict_photo(model, tmp_path / "photo.png").argmax() == label).item()
    assert right >= 42  # this little network reads about 95 % of the images themselves

def turned(picture, path):
    """Save a picture on its side, with a note that it is (6) and an impossible one (-1 / 0)."""
    orientation = struct.pack("<HHII", 0x0112, 3, 1, 6)  # tag, type, count, value
    resolution = struct.pack("<HHII", 0x011A, 10, 1, 38)  # its value is at byte 38
    notes = struct.pack("<2sHIH", b"II", 42, 8, 2) + orientation + resolution + struct.pack("<IiI", 0, -1, 0)
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=b"Exif\0\0" + notes)

def transparent(picture, path):
    ink = picture.point(lambda value: 255 if value < 60 else 0)
    Image.merge("LA", (Image.new("L", picture.size), ink)).save(path)

FORMATS = {"turned.jpg": turned, "transparent.png": transparent,
           "WebP.webp": lambda picture, path: picture.convert("RGB").save(path),
           "the example.jpg": lambda picture, path: path.write_bytes(EXAMPLE.read_bytes())}

@pytest.mark.parametrize("name", FORMATS)
def test_reads_the_formats_that_users_have(name, model, tmp_path):
    FORMATS[name](draw(), tmp_path / name)
    assert main.predict_photo(model, tmp_path / name).argmax() == 7

FAULTY = {"empty": (b"", "cannot identify"), "HEIC": (b"\0\0\0\x18ftypheic", "cannot identify"),
          "cut off": (EXAMPLE.read_bytes()[:3000], "truncated"), "too large": (b"P4 20000 20000\n", "bomb"),
          "too narrow": (b"P5 1700 2 255\n" + bytes(3400), ""), "missing": (None, "No such"),
          "without ink": (b"P5 60 60 255\n" + bytes(3600), "no ink")}

@pytest.mark.parametrize("name", FAULTY)
def test_what_is_wrong_with_a_file_is_told_in_one_line(name, model, folder, capsys):
    content, reason = FAULTY[name]
    if content is not None:
        (folder / name).write_bytes(content)
    main.try_photo(model, name)
    error = capsys.readouterr().err
    assert error.startswith(f"{name} can't be read: ") and reason in error and error.count("\n") == 1

def test_the_figure_shows_32_feature_maps(model, folder, monkeypatch):
    monkeypatch.setattr(main, "show_figure", lambda path: None)  # would close it
    main.try_photo(model, EXAMPLE)
    maps = plt.gcf().axes[2].images[0].get_array()
    assert maps.shape == (4 * 28 + 2, 8 * 28 + 2)  # four rows of eight, 26 pixels each and a border

@pytest.fixture
def canvas(model):
    """The canvas of a figure to draw in, with a function that gives the heights of its bars."""
    main.make_page(model)
    canvas = plt.gcf().canvas
    canvas.heights = lambda: [bar.get_height() for bar in canvas.figure.axes[1].patches]
    yield canvas
    plt.close("all")

def press(canvas, corners, button=1, steps=1):
    """Press a button at the first of the corners, and move to the others in so many steps each."""
    places = [corners[0]]
    for start, end in zip(np.array(corners), np.array(corners[1:])):
        places += [start + step / steps * (end - start) for step in range(1, steps + 1)]
    names = ["button_press_event"] + ["motion_notify_event"] * (len(places) - 1) + ["button_release_event"]
    for name, (x, y) in zip(names, canvas.figure.axes[0].transData.transform(places + places[-1:])):
        canvas.callbacks.process(name, MouseEvent(name, canvas, x, y, button))

STROKES = {"7": ((85, 65), (195, 65), (130, 230)), "1": ((140, 50), (138, 230)),
           "1 that leaves the page": ((140, 60), (138, 330), (300, 330))}

@pytest.mark.parametrize("steps", [1, 8], ids=["fast", "slowly"])
@pytest.mark.parametrize("digit", STROKES)
def test_reads_what_is_drawn(digit, steps, canvas):
    press(canvas, STROKES[digit], steps=steps)
    assert np.argmax(canvas.heights()) == int(digit[0])

def test_a_click_beside_the_empty_page_draws_nothing(canvas):
    press(canvas, [(400, 100)])
    assert not any(canvas.heights())

def press_space(canvas):
    canvas.callbacks.process("key_press_event", KeyEvent("key", canvas, " "))

def press_right(canvas):
    press(canvas, [(9, 9)], button=3)

@pytest.mark.parametrize("wipe", [press_space, press_right])
def test_the_page_can_be_wiped_and_drawn_on_again(wipe, canvas):
    press(canvas, STROKES["7"])
    wipe(canvas)
    press(canvas, STROKES["1"])
    assert np.argmax(canvas.heights()) == 1
