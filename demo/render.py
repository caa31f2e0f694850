"""Renders a folder of picture files in many formats, shapes and names, and returns the true tags of each."""

import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from demo.paint import paint
from demo.scene import draw_scene

FORMATS = ("jpeg", "jpeg-444", "jpeg-progressive", "png", "png-rgba", "png-palette", "png-gray", "webp", "gif")
_SHARES = (0.34, 0.1, 0.1, 0.14, 0.08, 0.06, 0.05, 0.08, 0.05)
_SUFFIX = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "gif": ".gif"}
_FOLDERS = ("", "spring set", "夏の絵", "Été/plage", "misc/a b c", "cosplay & co", "misc/深い/フォルダ")
_NAMES = ("girl", "picture", "絵", "esquisse é", "IMG 2021", "50% off", "a+b")
SHORTEST, LARGEST, LONGEST_ASPECT = 60, 4_000_000, 5.0
_DETAIL_ASPECT = 1.9
"""Beyond this aspect a face would be a few pixels at the model's size, so it is not shown (`detailed` in scene.py)."""
BREAKS = ("truncated", "empty", "text")


@dataclass(frozen=True, slots=True)
class Truth:
    """One rendered file.

    Attributes:
        path: below the folder, with `/`.
        tags: what the picture truly shows, in the order of the model's tags; () for a broken file.
        broken: "" or how the file was broken: one of BREAKS.
    """

    path: str
    tags: tuple[str, ...]
    broken: str = ""


def render(
    folder: Path,
    count: int,
    seed: int,
    *,
    broken: int = 0,
    size: tuple[int, int] | None = None,
    formats: Sequence[str] = FORMATS,
) -> list[Truth]:
    """Write `count` pictures, and `broken` files that cannot be decoded, into `folder`.

    Each file depends on the seed and its own number alone, so a larger count only adds files.

    Args:
        folder: made if need be.
        count: pictures.
        seed: decides what the pictures show.
        broken: further files: truncated, empty, or text named .jpg.
        size: (width, height) of every picture; else 60 px to 4 megapixels, aspect 1:5 to 5:1.
        formats: which of FORMATS to use.

    Returns:
        What was written, in the order of its numbers; the broken files last.
    """
    with ThreadPoolExecutor(2) as pool:
        good = list(pool.map(lambda i: _picture(folder, i, seed, size, formats), range(count)))
    return good + [_broken(folder, i, seed) for i in range(broken)]


def encode(pixels: npt.NDArray[np.uint8], kind: str, quality: int = 90) -> bytes:
    """The file of a picture.

    Args:
        pixels: uint8 [height, width, 3] RGB.
        kind: one of FORMATS.
        quality: of JPEG and WebP, 0..100.
    """
    image = Image.fromarray(pixels)
    if kind == "png-rgba":
        image = image.convert("RGBA")  # opaque: dropping the alpha, as DeepDanbooru does, changes nothing
    elif kind == "png-gray":
        image = image.convert("L")
    elif kind in ("png-palette", "gif"):
        image = image.quantize(256, method=Image.Quantize.FASTOCTREE)
    family = kind.split("-")[0]
    options: dict[str, int | bool] = {}
    if family == "jpeg":
        options = {"quality": quality, "subsampling": 0 if kind == "jpeg-444" else 2}
        options["progressive"] = kind == "jpeg-progressive"
    elif family == "webp":
        options = {"quality": quality, "method": 2}
    elif family == "png":
        options = {"compress_level": 3}
    file = io.BytesIO()
    image.save(file, family.upper(), **options)
    return file.getvalue()


def picture(
    number: int, seed: int, formats: Sequence[str], size: tuple[int, int] | None = None
) -> tuple[bytes, tuple[str, ...]]:
    """Picture `number` of a seed: the content of its file, and its tags."""
    rng = np.random.default_rng((seed, number))
    kind = _kind(rng, formats)
    width, height = size or _size(rng)
    detailed = max(width / height, height / width) < _DETAIL_ASPECT
    scene = draw_scene(rng, colour=kind != "png-gray", detailed=detailed)
    return encode(paint(scene, width, height), kind, quality=int(rng.integers(70, 96))), scene.tags()


def _picture(folder: Path, number: int, seed: int, size: tuple[int, int] | None, formats: Sequence[str]) -> Truth:
    data, tags = picture(number, seed, formats, size)
    kind = _kind(np.random.default_rng((seed, number)), formats)
    path = _path(np.random.default_rng((seed, number, 2)), number, _SUFFIX[kind.split("-")[0]])
    _write(folder / path, data)
    return Truth(path, tags)


def _kind(rng: np.random.Generator, formats: Sequence[str]) -> str:
    shares = np.array([_SHARES[FORMATS.index(kind)] for kind in formats])
    return formats[rng.choice(len(formats), p=shares / shares.sum())]


def _broken(folder: Path, number: int, seed: int) -> Truth:
    rng = np.random.default_rng((seed, number, 1))
    how = BREAKS[number % len(BREAKS)]
    data = b""
    if how == "truncated":
        data = encode(paint(draw_scene(rng), 200, 200), "jpeg")[: int(rng.integers(700, 2000))]
    elif how == "text":
        data = b"I was saved from a web page that is gone.\n"
    path = _path(rng, number, ".jpg", stem=f"{how} file")
    _write(folder / path, data)
    return Truth(path, (), how)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height: mostly web-sized and near square, some tiny, some of four megapixels, some very long."""
    spread = math.log(LONGEST_ASPECT) if rng.random() < 0.12 else math.log(1.6)
    aspect = math.exp(rng.uniform(-spread, spread))
    area = math.exp(rng.uniform(math.log(90**2), math.log(LARGEST if rng.random() < 0.1 else 600_000)))
    width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
    grow = max(1.0, SHORTEST / min(width, height))
    return max(SHORTEST, int(width * grow)), max(SHORTEST, int(height * grow))


def _path(rng: np.random.Generator, number: int, suffix: str, stem: str = "") -> str:
    folder = _FOLDERS[rng.integers(len(_FOLDERS))]
    name = stem or _NAMES[rng.integers(len(_NAMES))]
    return f"{folder}/{name} {number:05}{suffix}".lstrip("/")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
