"""The photo reader. The tests draw their own pictures: MNIST digits that the network hasn't seen, large, as ink on
paper as a camera would see it, and every sort of file that is no such picture."""
import copy
import io
import os
import re
import struct
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import main
from conftest import connect, finish, run

posix = pytest.mark.skipif(os.name == "nt", reason="a Windows terminal neither escapes paths nor takes ~")


# ---- The digits, and how they get on paper --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(model, loaders):
    """`(digit, label)` for test digits, (28, 28) from 0 to 1, that the network knows when it gets them directly: what
    is misread in a picture of theirs is the reader's fault. In turn 0, 1, ... 9, 0, 1, ..."""
    images, labels = loaders[1].dataset.tensors
    with torch.no_grad():
        scores, guesses = torch.softmax(model(images), 1).max(1)
    chosen = [[i for i in torch.nonzero((labels == name) & (guesses == name) & (scores > 0.9)).flatten().tolist()]
              for name in range(10)]
    return [(images[i, 0].numpy() / 2 + 0.5, labels[i].item()) for turn in zip(*chosen) for i in turn]


def crop(array):
    """Cut an array down to what is above 0."""
    rows, columns = np.nonzero(array.max(1))[0], np.nonzero(array.max(0))[0]
    return array[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def enlarge(digit, side):
    """The digit with smooth, sharp edges, `side` pixels in its longer direction: from 0 to 1, the share of ink."""
    size = [round(n * side / 28) for n in (28, 28)]
    large = np.asarray(Image.fromarray(np.uint8(255 * digit)).resize(size, Image.BICUBIC), np.float32) / 255
    large = crop(np.clip((large - 0.4) * 4, 0, 1))
    size = [max(1, round(n * side / max(large.shape))) for n in large.shape[::-1]]
    return np.asarray(Image.fromarray(large).resize(size, Image.BILINEAR))


def trace(digit, side, width):
    """The digit redrawn with a pen `width` pixels wide along the middle of its strokes (Zhang and Suen's thinning)."""
    dots = (np.asarray(Image.fromarray(np.uint8(255 * digit)).resize((84, 84), Image.BICUBIC)) > 110).astype(int)
    before = None
    while before is None or before.sum() > dots.sum():
        before = dots
        for step in range(2):
            p = np.pad(dots, 1)
            ring = [p[1 + y:85 + y, 1 + x:85 + x] for y, x in
                    ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))]
            turns = sum((a == 0) & (b == 1) for a, b in zip(ring, ring[1:] + ring[:1]))
            north, east, south, west = ring[::2]
            spared = east * south * (north + west) if step == 0 else north * west * (east + south)
            dots = dots & ~((turns == 1) & (sum(ring) >= 2) & (sum(ring) <= 6) & (spared == 0))
    dots = crop(dots)
    scale = (side - width) / max(max(dots.shape) - 1, 1)
    shape = [round(scale * (n - 1)) + width + 2 for n in dots.shape[::-1]]
    canvas = Image.new("L", shape)
    draw = ImageDraw.Draw(canvas)
    points = {(y, x) for y, x in zip(*np.nonzero(dots))}
    for y, x in points:
        for other in (y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1), (y, x):
            if other in points:
                ends = [(scale * q + width / 2, scale * p + width / 2) for p, q in ((y, x), other)]
                draw.line(ends, fill=255, width=width)
        if width > 2:
            x, y = scale * x, scale * y
            draw.ellipse((x, y, x + width, y + width), fill=255)
    return np.asarray(canvas, np.float32) / 255


def photograph(rng, ink, width=600, height=600, left=None, top=None, paper=0.8, pen=0.2, marks=0, grain=0.02, light=1):
    """A grey picture of a sheet with the strokes `ink` on it: paper and pen are brightnesses, `marks` further ink on
    the same sheet, `light` what falls on it. The light fades to one side, the sheet is uneven, the camera noisy."""
    cover = np.zeros((height, width), np.float32) + marks
    left = (width - ink.shape[1]) // 2 if left is None else left
    top = (height - ink.shape[0]) // 2 if top is None else top
    below = cover[top:top + ink.shape[0], left:left + ink.shape[1]]
    np.maximum(below, ink[:below.shape[0], :below.shape[1]], out=below)
    y, x = np.mgrid[-0.5:0.5:height * 1j, -0.5:0.5:width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    light = light * (1 + 0.25 * (np.cos(angle) * x + np.sin(angle) * y))
    blotches = rng.standard_normal((12, 12), np.float32)
    blotches = np.asarray(Image.fromarray(blotches).resize((width, height), Image.BICUBIC))
    sheet = paper + 0.02 * blotches
    picture = light * (sheet + (pen - sheet) * cover) + grain * rng.standard_normal((height, width), np.float32)
    return Image.fromarray(np.uint8(255 * picture.clip(0, 1)))


def rule(rng, both):
    """The marks of ruled or squared paper, a bit tilted."""
    canvas = Image.new("L", (600, 600))
    draw = ImageDraw.Draw(canvas)
    tilt, gap = rng.uniform(-30, 30), rng.integers(40, 60)
    for start in range(-60, 660, gap):
        draw.line((0, start - tilt, 600, start + tilt), fill=110, width=2)
        if both:
            draw.line((start + tilt, 0, start - tilt, 600), fill=110, width=2)
    return np.asarray(canvas, np.float32) / 255


def spatter(rng):
    """The marks of specks all over, and of a slip of the pen at one side."""
    canvas = Image.new("L", (600, 600))
    draw = ImageDraw.Draw(canvas)
    for x, y in rng.integers(0, 600, (40, 2)).tolist():
        draw.ellipse((x, y, x + 3, y + 3), fill=200)
    x, y = rng.integers(20, 60), rng.integers(30, 570)
    draw.line((x, y, x + 25, y + 15), fill=220, width=8)
    return np.asarray(canvas, np.float32) / 255


def shade(rng):
    """Light with a hard shadow across."""
    y, x = np.mgrid[-300:300, -300:300]
    angle = rng.uniform(0, 2 * np.pi)
    return np.where(np.cos(angle) * x + np.sin(angle) * y < rng.uniform(-100, 100), 1, 0.5).astype(np.float32)


def blur(picture, radius):
    return picture.filter(ImageFilter.GaussianBlur(radius))


def screen(ink):
    """Black strokes on a white canvas, as a drawing program has them."""
    return Image.fromarray(np.uint8(255 - 255 * np.pad(ink, 30)))


def desk(rng, ink):
    """A sheet that ends at one side, with a darker desk beyond."""
    light = np.ones((600, 600), np.float32)
    light[:, :rng.integers(60, 120)] = 0.35
    return photograph(rng, ink, light=np.rot90(light, rng.integers(4)))


# Each kind of picture, and how many must be read right: out of ten, out of three large ones
KINDS = {
    "pen on paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280)), 9),
    "chalk on a board": (lambda rng, digit: photograph(rng, enlarge(digit, 280), paper=0.25, pen=0.8), 9),
    "pale pencil": (lambda rng, digit: photograph(rng, enlarge(digit, 280), pen=0.55), 9),
    "a hard shadow across": (lambda rng, digit: photograph(rng, enlarge(digit, 280), light=shade(rng)), 9),
    "out of focus": (lambda rng, digit: blur(photograph(rng, enlarge(digit, 280)), 8), 9),
    "small in a corner": (lambda rng, digit: photograph(rng, enlarge(digit, 80), left=25, top=500), 9),
    "at the very edge": (lambda rng, digit: photograph(rng, enlarge(digit, 280), left=0), 9),
    "filling the frame": (lambda rng, digit: photograph(rng, enlarge(digit, 600)), 9),
    "specks and a slip": (lambda rng, digit: photograph(rng, enlarge(digit, 250), marks=spatter(rng)), 9),
    "ruled paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280), marks=rule(rng, both=False)), 9),
    "squared paper": (lambda rng, digit: photograph(rng, enlarge(digit, 280), marks=rule(rng, both=True)), 9),
    "a desk at one side": (lambda rng, digit: desk(rng, enlarge(digit, 250)), 9),
    "a crop of 60 pixels": (lambda rng, digit: photograph(rng, enlarge(digit, 45), 60, 60), 9),
    "a thin pen, 12 megapixels": (lambda rng, digit: photograph(rng, trace(digit, 1000, 9), 4000, 3000), 3),
    "one pixel on a screen": (lambda rng, digit: screen(trace(digit, 220, 1)), 8),
    "a thick brush": (lambda rng, digit: screen(trace(digit, 280, 36)), 9),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reads_digits_in_every_kind_of_picture(kind, model, known, tmp_path):
    draw, enough = KINDS[kind]
    path = tmp_path / "photo.jpg"
    rng = np.random.default_rng(0)
    chosen = known[2:5] if "12 mega" in kind else known[:10]
    misread = []
    for digit, label in chosen:
        draw(rng, digit).save(path, quality=90)
        guess = main.predict_photo(model, path).argmax().item()
        misread += [(label, guess)] * (guess != label)
    assert len(misread) <= len(chosen) - enough, f"(digit, read as): {misread}"


def test_reads_mnist_digits_about_as_well_from_pictures_as_directly(model, loaders, tmp_path):
    images, labels = (part[:60] for part in loaders[1].dataset.tensors)
    with torch.no_grad():
        directly = (model(images).argmax(1) == labels).sum().item()
    read = 0
    for image, label in zip(images, labels.tolist()):
        Image.fromarray(np.uint8((image[0].numpy() + 1) * 127.5 + 0.5)).save(tmp_path / "digit.png")
        read += main.predict_photo(model, tmp_path / "digit.png").argmax().item() == label
    assert read >= directly - 1


# ---- Every sort of file ---------------------------------------------------------------------------------------------


def turned(picture, path, orientation):
    """Save a picture as a camera held otherwise does: turned, with a note on how to turn it back."""
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.transpose(back[orientation]).save(path, exif=exif)


def on_nothing(picture, brightness):
    """The strokes alone, in one brightness, on a transparent ground."""
    image = Image.new("RGBA", picture.size, (brightness,) * 3 + (0,))
    image.putalpha(picture.point(lambda value: 255 - value))
    return image


def paletted(picture, path, **options):
    """Save with a palette in which neighbours are no neighbours in brightness: 0 is paper, 1 is ink, 2 in between."""
    image = Image.fromarray(np.digitize(np.asarray(picture), [85, 170]).astype(np.uint8)).point([1, 2, 0] + [0] * 253)
    image.putpalette([250, 240, 230, 20, 10, 60, 130, 120, 140])
    image.save(path, **options)


FORMATS = {
    "JPEG.jpg": lambda picture, path: picture.convert("RGB").save(path),
    "turned by 180 degrees.jpg": lambda picture, path: turned(picture, path, 3),
    "turned left.jpg": lambda picture, path: turned(picture, path, 6),
    "turned right.jpg": lambda picture, path: turned(picture, path, 8),
    "CMYK.jpg": lambda picture, path: picture.convert("RGB").convert("CMYK").save(path),
    "black on nothing.png": lambda picture, path: on_nothing(picture, 0).save(path),
    "white on nothing.png": lambda picture, path: on_nothing(picture, 255).save(path),
    "grey and alpha.png": lambda picture, path: on_nothing(picture, 0).convert("LA").save(path),
    "palette.png": paletted,
    "palette, transparent paper.png": lambda picture, path: paletted(picture, path, transparency=0),
    "1 bit.png": lambda picture, path: picture.convert("1").save(path),
    "16 bits.png": lambda picture, path: Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path),
    "16 bits, dark.png": lambda picture, path: Image.fromarray(np.asarray(picture).astype(np.uint16) * 16).save(path),
    "16 bits.tiff": lambda picture, path: Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path),
    "floats.tiff": lambda picture, path: Image.fromarray(np.asarray(picture, np.float32) / 255).save(path),
    "TIFF.tif": lambda picture, path: picture.convert("RGB").save(path, compression="tiff_lzw"),
    "WebP.webp": lambda picture, path: picture.convert("RGB").save(path),
    "BMP.bmp": lambda picture, path: picture.convert("RGB").save(path),
    "animated.gif": lambda picture, path: picture.save(path, save_all=True, append_images=[
        picture.transpose(Image.Transpose.ROTATE_180), Image.new("L", picture.size)]),
}


@pytest.fixture(scope="module")
def pages(known):
    """A 4 and a 7 on a screen, neither of which is itself when turned: `[(picture, label), ...]`."""
    return [(screen(enlarge(digit, 200)), label) for digit, label in known[:10] if label in (4, 7)]


@pytest.mark.parametrize("name", FORMATS)
def test_reads_every_file_format(name, model, pages, tmp_path):
    for picture, label in pages:
        FORMATS[name](picture, tmp_path / name)
        assert main.predict_photo(model, tmp_path / name).argmax() == label


def test_returns_probabilities_and_touches_nothing(model, pages, tmp_path):
    path = tmp_path / "four.png"
    pages[0][0].save(path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    fresh = copy.deepcopy(model)
    fresh.zero_grad(set_to_none=True)
    probabilities = main.predict_photo(fresh, path)
    assert probabilities.dtype == torch.float32 and probabilities.shape == (10,)
    assert probabilities.device.type == "cpu" and not probabilities.requires_grad
    assert probabilities.min() >= 0 and probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert all(weights.grad is None for weights in fresh.parameters())
    assert torch.equal(main.predict_photo(model, str(path)), probabilities)  # a str is as good as a Path
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before and os.listdir(tmp_path) == ["four.png"]


def test_prepares_a_photo_the_way_mnist_was(known):
    rng = np.random.default_rng(0)
    for digit, _ in known[:10]:
        picture = photograph(rng, enlarge(digit, 150), left=20)
        image = main.prepare_photo(Image.fromarray(np.asarray(picture, np.float32) / 255))
        assert image.dtype == torch.float32 and image.shape == (1, 28, 28)
        assert image.min() == -1 and image.max() == 1
        ink = (image[0] + 1).numpy() / 2
        assert max(crop(ink).shape) == 20
        places = np.arange(28) + 0.5
        for side in ink.sum(0), ink.sum(1):
            assert abs(side @ places / side.sum() - 14.5) <= 1.01  # a whole pixel is as near as it gets
        assert np.corrcoef(ink.flatten(), digit.flatten())[0, 1] > 0.75  # that digit as MNIST has it


def read_large_photo(folder):
    """In a forked process: read large.jpg with model.pth; print the guess, the seconds and the further memory in MB."""
    def peak():  # in KiB; ru_maxrss would begin with that of the process which started this one
        try:
            return [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
        except OSError:
            return 0

    connect(folder)
    model = main.DigitCNN()
    model.load_state_dict(torch.load("model.pth"))
    model(torch.zeros(1, 1, 28, 28))
    before, times = peak(), []
    for _ in range(3):
        start = time.perf_counter()
        guess = main.predict_photo(model, "large.jpg").argmax().item()
        times.append(time.perf_counter() - start)
    print(guess, min(times), (peak() - before) / 1024, flush=True)


def test_reads_a_12_megapixel_photo_in_little_time_and_memory(model, known, tmp_path, fork):
    digit, label = known[3]
    photograph(np.random.default_rng(0), enlarge(digit, 1500), 4000, 3000).save(tmp_path / "large.jpg", quality=90)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    _, out, _ = finish(fork(read_large_photo, tmp_path), tmp_path)
    guess, seconds, mebibytes = out.split()
    assert int(guess) == label
    assert float(seconds) < 1
    assert float(mebibytes) < 300


# ---- What is no picture of a digit ----------------------------------------------------------------------------------


def bomb(kind):
    """A file of a few bytes whose header announces 20000 x 20000 pixels."""
    if kind == "PNG":
        def chunk(name, data):
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0))
                + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    tags = {256: 20000, 257: 20000, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 20000, 279: 1000}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def saved(picture, kind, **options):
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def scribble(size=120):
    """A small picture with all brightnesses in it."""
    noise = np.random.default_rng(1).integers(0, 60, (size, size))
    picture = Image.fromarray(np.uint8(noise + 190))
    ImageDraw.Draw(picture).line((30, 90, 60, 30, 90, 80), fill=20, width=7)
    return picture


FAULTY = {
    "a text": lambda: b"no picture at all\n",
    "an empty file": lambda: b"",
    "a cut-off JPEG": lambda: saved(scribble(), "JPEG")[:2000],
    "a cut-off PNG": lambda: saved(scribble(), "PNG")[:2000],
    "a cut-off GIF": lambda: saved(scribble(), "GIF")[:2000],
    "a cut-off TIFF": lambda: saved(scribble(), "TIFF")[:-2000],
    "nonsense for EXIF": lambda: saved(scribble(), "PNG", exif=b"nonsense"),  # Pillow itself raises a SyntaxError
    "a PNG bomb": lambda: bomb("PNG"),
    "a TIFF bomb": lambda: bomb("TIFF"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_file_is_an_os_error(name, model, tmp_path, capfd):
    (tmp_path / "faulty").write_bytes(FAULTY[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(OSError):
            main.predict_photo(model, tmp_path / "faulty")
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_and_a_folder_are_os_errors(model, tmp_path):
    for path in tmp_path / "missing.jpg", tmp_path, str(tmp_path), "":
        with pytest.raises(OSError):
            main.predict_photo(model, path)


def test_an_honest_picture_of_60_megapixels_is_read(model, pages, tmp_path):
    picture, label = pages[1]
    page = Image.new("1", (9000, 6700), 1)
    page.paste(picture.resize((2000, 2000 * picture.height // picture.width)), (3000, 2000))
    page.save(tmp_path / "scan.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main.predict_photo(model, tmp_path / "scan.png").argmax() == label


EMPTY = {
    "white": lambda: Image.new("RGB", (600, 600), "white"),
    "black": lambda: Image.new("L", (600, 600)),
    "paper": lambda: photograph(np.random.default_rng(0), np.zeros((2, 2), np.float32)),
    "a board": lambda: photograph(np.random.default_rng(0), np.zeros((2, 2), np.float32), paper=0.25),
    "nothing at all": lambda: Image.new("RGBA", (600, 600), (0, 0, 0, 0)),
    "one pixel": lambda: Image.new("L", (1, 1), 255),
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_page_without_ink_is_a_value_error(name, model, tmp_path):
    EMPTY[name]().save(tmp_path / "page.png")
    with pytest.raises(ValueError, match="no ink"):
        main.predict_photo(model, tmp_path / "page.png")


def stripes(*lines):
    picture = Image.new("L", (300, 300), 240)
    for line in lines:
        ImageDraw.Draw(picture).line(line, fill=0, width=4)
    return picture


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8))


ODD = {
    "a line": lambda: stripes((0, 150, 300, 150)),
    "a cross": lambda: stripes((0, 150, 300, 170), (150, 0, 140, 300)),
    "ruled paper": lambda: stripes(*((0, y, 300, y + 5) for y in range(15, 300, 30))),
    "half black": lambda: Image.fromarray(np.uint8(255 * (np.mgrid[:100, :100][0] < 50))),
    "a chessboard": lambda: Image.fromarray(np.uint8(255 * (np.mgrid[:100, :100].sum(0) % 2))),
    "noise": lambda: noise(200, 200),
    "9 pixels": lambda: noise(3, 3),
    "2 pixels": lambda: noise(1, 2),
    "flat": lambda: noise(3000, 2),
    "narrow": lambda: noise(2, 3000),
    "not-a-number": lambda: Image.fromarray(np.where(np.mgrid[:100, :100][0] < 50, np.float32(1), np.float32("nan"))),
    "infinity": lambda: Image.fromarray(np.where(np.mgrid[:100, :100][0] < 50, np.float32(1), np.float32("inf"))),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_gives_some_digit_or_an_error(name, tmp_path):
    ODD[name]().save(tmp_path / "odd.tiff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            image = main.prepare_photo(main.read_picture(tmp_path / "odd.tiff"))
        except (OSError, ValueError):
            return
    assert image.shape == (1, 28, 28) and image.isfinite().all() and image.max() == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_no_damage_to_a_file_raises_anything_but_os_or_value_errors(kind, tmp_path, capfd):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "turned"
    whole = saved(scribble(60), kind, **{"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for attempt in range(30):
            damaged = np.frombuffer(whole, np.uint8).copy()
            reach = 150 if attempt % 2 else len(damaged)  # every other time in the header
            places = rng.integers(0, min(reach, len(damaged)), rng.integers(1, 12))
            damaged[places] = rng.integers(0, 256, len(places))
            (tmp_path / "damaged").write_bytes(damaged.tobytes())
            try:
                main.read_picture(tmp_path / "damaged")
            except (OSError, ValueError):
                pass
    assert not told
    assert capfd.readouterr() == ("", "")


# ---- The prompt -----------------------------------------------------------------------------------------------------


def test_the_prompt_reads_photos_until_an_empty_line(folder, model, known):
    main.save_model(model, "digit_cnn.pth", list("0123456789"))
    digit, label = known[7]
    picture = photograph(np.random.default_rng(0), enlarge(digit, 280))
    (folder / "home").mkdir()
    (folder / "a folder").mkdir()
    (folder / "notes.txt").write_text("no picture")
    Image.new("L", (100, 100), 255).save("blank.png")
    good = {"seven.jpg": "seven.jpg", "a b.jpg": "a b.jpg", "it's.jpg": "it's.jpg", "$x_$.jpg": "$x_$.jpg"}
    if os.name != "nt":
        good |= {"'quoted one.jpg'": "quoted one.jpg", r"an\ escaped\ one.jpg": "an escaped one.jpg",
                 "~/at_home.jpg": "home/at_home.jpg"}
    if sys.platform == "linux":  # elsewhere, file names have their own encoding
        good |= {"sept é.jpg": "sept é.jpg", "日本.jpg": "日本.jpg"}
    for name in good.values():
        picture.save(name)
    faulty = ["missing.jpg", "a folder", "notes.txt", "blank.png"]
    # Faults in between: no one of them ends the loop
    lines = [line for pair in zip(good, faulty + [""] * 9) for line in pair if line]
    done = run(folder, "\n".join(["y", *lines, "", "beyond.jpg", ""]), LC_ALL="C", PYTHONIOENCODING="ascii",
               HOME=str(folder / "home"), PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == faulty
    assert all(len(line.split(": ")[1]) > 3 for line in done.stderr.splitlines())

    answers = re.findall(r"(?:^|: )([^:\n]*\.jpg): (\d) \((\d+\.\d\d)%\)\n((?:  .*\n){10})", done.stdout, re.MULTILINE)
    assert len(answers) == len(good), done.stdout
    for (name, guess, percent, bars), path in zip(answers, good.values()):
        if path.isascii():
            assert name == os.path.basename(path)
        assert int(guess) == label
        rows = [re.fullmatch(r" +(\d) +(\d+\.\d\d)%(?: (#+))?", row) for row in bars.splitlines()]
        assert [row[1] for row in rows] == list("0123456789")
        assert f"{max(float(row[2]) for row in rows):.2f}" == percent
        assert sum(float(row[2]) for row in rows) == pytest.approx(100, abs=0.1)
        assert all(len(row[3] or "") == pytest.approx(float(row[2]) * 0.4, abs=0.51) for row in rows)
    with Image.open("photo_prediction.png") as figure:
        figure.load()
        assert figure.format == "PNG"


@posix
@pytest.mark.parametrize("text, path", [
    ("photo.jpg", "photo.jpg"), ("'my photo.jpg'", "my photo.jpg"), ('"my photo.jpg"', "my photo.jpg"),
    (r"my\ photo\ \(1\).jpg", "my photo (1).jpg"), (r"'it'\''s.jpg'", "it's.jpg"), (r"it\'s.jpg", "it's.jpg"),
    ("it's.jpg", "it's.jpg"), ("my photo.jpg", "my photo.jpg"), ("~/photo.jpg", "HOME/photo.jpg"),
    (r"~/my\ photo.jpg", "HOME/my photo.jpg"), ("/a/b~c.jpg", "/a/b~c.jpg"),
])
def test_a_path_as_terminals_write_it_is_understood(text, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "HOME")
    assert main.clean_path(text) == path


@posix
@pytest.mark.parametrize("name", ["two  spaces.jpg", "'quoted'.jpg", r"back\slash.jpg"])
def test_a_file_with_an_odd_name_is_found(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert os.path.exists(main.clean_path(name))


@pytest.mark.skipif(os.name != "nt", reason="a Windows terminal's way to quote")
def test_a_path_as_windows_quotes_it_is_understood():
    assert main.clean_path('"C:\\my photos\\7.jpg"') == "C:\\my photos\\7.jpg"
