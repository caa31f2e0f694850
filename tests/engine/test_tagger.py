"""`engine.Tagger`: every kind of picture gets the tags of a run, callers share batches, bad pictures get a sentence."""

import gc
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import engine
from convert.cli import main as convert
from engine import Tagger
from engine.errors import ConfigError, MediumError, ModelError, NotAPicture, SessionError, Undecodable, Unreadable
from engine.model.batches import Batches
from tests.support.pictures import encoded, every_format, png_claiming, smooth
from tests.support.runs import ENGINE, run
from tests.support.taggers import write_tagger

LOW = 0.001
"""The model's weights are random: so low a threshold takes nearly all its tags."""


@pytest.fixture(scope="module")
def tagger(tiny_model: Path) -> Iterator[Tagger]:
    with Tagger(tiny_model, threshold=LOW, device="cpu") as made:
        yield made


def others() -> dict[str, bytes]:
    """Pictures that have little in common."""
    return {f"{seed}.png": encoded("PNG", Image.fromarray(smooth(seed=seed))) for seed in range(10, 20)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a picture of every format, and two that are none."""
    folder = tmp_path_factory.mktemp("files")
    for name, data in (every_format() | others()).items():
        (folder / name).write_bytes(data)
    (folder / "broken.jpg").write_bytes(encoded("JPEG", Image.fromarray(smooth()))[:500])
    (folder / "bomb.png").write_bytes(png_claiming(50_000, 50_000))
    return folder


@pytest.fixture(scope="module")
def as_engine_tag(files: Path, tiny_model: Path) -> dict[Path, dict[str, float] | str]:
    """What `engine tag` says of each file: its tags, or why it has none."""
    command = ["tag", "--json", "--threshold", str(LOW), "--device", "cpu", "--model", str(tiny_model), str(files)]
    lines = [json.loads(line) for line in run([*ENGINE, *command]).stdout.splitlines()]
    return {
        Path(line["path"]): line.get("error") or {tag["tag"]: tag["score"] for tag in line["tags"]} for line in lines
    }


def test_every_format_gets_the_tags_of_engine_tag_to_the_last_bit(tagger, files, as_engine_tag):
    assert len(as_engine_tag) == len(every_format()) + len(others()) + 2
    for path, expected in as_engine_tag.items():
        if isinstance(expected, str):
            continue
        assert dict(tagger.tag(path)) == dict(tagger.tag(str(path))) == dict(tagger.tag(path.read_bytes())) == expected
    assert len({tuple(as_engine_tag[files / name].values()) for name in others()}) == len(others())


def test_many_at_once_are_in_order_and_a_bad_one_loses_nothing(tagger, as_engine_tag):
    paths = list(as_engine_tag) * 3
    results = list(tagger.tag_many(paths))
    assert [str(r) if isinstance(r, MediumError) else dict(r) for r in results] == [as_engine_tag[p] for p in paths]
    assert sum(isinstance(r, Undecodable) for r in results) == 6


def test_many_threads_get_each_their_own_pictures_tags(tagger, as_engine_tag):
    good = [(path, tags) for path, tags in as_engine_tag.items() if isinstance(tags, dict)]

    def caller(number: int) -> bool:
        return all(dict(tagger.tag(path)) == tags for path, tags in good[number:] + good[:number])

    with ThreadPoolExecutor(12) as callers:
        assert all(callers.map(caller, range(12)))


def test_who_asks_for_many_and_stops_early_reads_no_further(tagger, files):
    taken = []

    def endless() -> Iterator[Path]:
        while True:
            taken.append(files / "rgb.png")
            yield taken[-1]

    results = tagger.tag_many(endless())
    assert next(results)
    results.close()
    assert len(taken) < 50


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(smooth()),
        Image.fromarray(smooth()).convert("L"),
        Image.fromarray(smooth()).convert("1"),
        Image.fromarray(smooth()).quantize(64),
        Image.fromarray(np.dstack([smooth(), smooth(seed=1)[..., 0]])),
        Image.fromarray(smooth()).convert("LA"),
        Image.fromarray(smooth()[..., 0].astype(np.uint16) * 257),
    ],
    ids=lambda image: image.mode,
)  # fmt: skip
def test_a_pillow_image_is_tagged_as_the_file_of_it(tagger, image):
    assert tagger.tag(image) == tagger.tag(encoded("PNG", image))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "RGBa", "I", "F"])
def test_a_pillow_image_that_no_png_holds_is_converted(tagger, mode):
    source = Image.fromarray(smooth())
    image = source.convert("RGBA").convert(mode) if mode == "RGBa" else source.convert(mode)
    assert tagger.tag(image) == tagger.tag(image.convert("RGBA" if mode == "RGBa" else "RGB"))


def test_arrays_are_rgb_grey_or_rgba(tagger):
    rgb, alpha = smooth(), smooth(seed=1)[..., 0]
    assert tagger.tag(rgb) == tagger.tag(encoded("PNG", Image.fromarray(rgb)))
    assert tagger.tag(rgb[:, ::-1]) == tagger.tag(np.ascontiguousarray(rgb[:, ::-1])) != tagger.tag(rgb)
    grey = tagger.tag(encoded("PNG", Image.fromarray(alpha)))
    assert tagger.tag(alpha) == tagger.tag(alpha[..., np.newaxis]) == grey
    rgba = np.dstack([rgb, alpha])
    assert tagger.tag(rgba) == tagger.tag(encoded("PNG", Image.fromarray(rgba)))


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8), np.zeros(5)],
)
def test_an_array_that_is_no_picture_is_refused(tagger, array):
    with pytest.raises(ValueError, match="it must be uint8"):
        tagger.tag(array)


def test_what_cannot_be_tagged_is_told_in_a_sentence_and_the_next_is_tagged(tagger, tiny_model, files, tmp_path):
    (tmp_path / "notes").write_text("no picture")
    cases = [
        (files / "nothing.jpg", Unreadable, "cannot be read: "),
        (tmp_path, Unreadable, "cannot be read: "),
        ("a\0b", Unreadable, "cannot be read: "),
        (files / "bomb.png", Undecodable, "more than the limit of 100,000,000"),
        ((files / "bomb.png").read_bytes(), Undecodable, "more than the limit of 100,000,000"),
        (files / "broken.jpg", Undecodable, "broken|truncated"),
        (tmp_path / "notes", NotAPicture, "the file is text"),
        (b"", Undecodable, "empty"),
    ]
    for picture, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            tagger.tag(picture)
    with pytest.raises(TypeError, match="int is no picture"):
        tagger.tag(3)
    assert tagger.tag(files / "rgb.jpg")
    with Tagger(tiny_model, device="cpu", max_pixels=1000, max_file_size="1k") as strict:
        with pytest.raises(Unreadable, match="larger than"):
            strict.tag(files / "rgb.bmp")
        with pytest.raises(Unreadable, match="larger than"):
            strict.tag(memoryview(bytes(1001)))
        with pytest.raises(Undecodable, match="limit of 1,000"):
            strict.tag(Image.new("RGB", (100, 100)))


def test_a_pillow_image_whose_file_is_cut_off_is_undecodable(tagger, files, tmp_path):
    (tmp_path / "cut.bmp").write_bytes((files / "rgb.bmp").read_bytes()[:500])
    with Image.open(tmp_path / "cut.bmp") as image, pytest.raises(Undecodable, match="Pillow cannot read it"):
        tagger.tag(image)


def test_thresholds(tiny_model, tagger, files):
    path = files / "rgb.png"
    scores = dict(zip(tagger.model.tags, tagger.scores(path).tolist(), strict=True))
    middle = sorted(scores.values())[25]
    (category,) = set(tagger.model.categories)
    with (
        Tagger(tiny_model, device="cpu", threshold=middle) as one,
        Tagger(tiny_model, device="cpu", threshold={category: middle}) as by_category,
        Tagger(tiny_model, device="cpu", threshold={}) as defaults,
        Tagger(tiny_model, device="cpu") as default,
    ):
        assert one.tag(path) == by_category.tag(path)
        assert dict(one.tag(path)) == {tag: score for tag, score in scores.items() if score >= middle}
        assert default.tag(path) == defaults.tag(path)
        assert dict(default.tag(path)) == {tag: score for tag, score in scores.items() if score >= 0.5}


def test_a_wrong_setting_is_told_in_a_sentence(tiny_model, tmp_path):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"threshold": 1.5}, "threshold: 1.5 is no score above 0 to 1"),
        ({"threshold": {"Nobody": 0.5}}, "threshold names the category nobody, and the model has only "),
        ({"batch_size": 0}, "batch_size: "),
        ({"devise": "cpu"}, "there is no setting devise of a Tagger"),
        ({"device": "toaster"}, "device: "),
    ]
    for wrong, sentence in cases:
        with pytest.raises(ConfigError, match=sentence):
            Tagger(tiny_model, **wrong)
    with pytest.raises(ModelError, match="there is no model folder"):
        Tagger(tmp_path / "nothing")


def tagger_threads() -> int:
    return sum(thread.name == "tagger" for thread in threading.enumerate())


def test_it_ends_when_it_is_closed_or_forgotten(tiny_model, files):
    before = tagger_threads()
    closed = Tagger(tiny_model, device="cpu")
    closed.close()
    closed.close()
    assert tagger_threads() == before
    with pytest.raises(RuntimeError, match="the tagger is closed"):
        closed.tag(files / "rgb.png")
    forgotten = Tagger(tiny_model, device="cpu")
    assert forgotten.tag(files / "rgb.png") is not None and tagger_threads() == before + 1
    del forgotten
    gc.collect()
    assert tagger_threads() == before


def test_the_package_has_nothing_else():
    with pytest.raises(AttributeError, match="no attribute 'Tager'"):
        engine.Tager  # noqa: B018


class GatedSession:
    """Scores are the first pixel of each row; a batch waits at the gate."""

    batch_size, device, precision = 4, "cpu", "fp32"

    def __init__(self) -> None:
        self.reached, self.gate = threading.Semaphore(0), threading.Semaphore(0)
        self.sizes: list[int] = []
        self.broken = False

    def run(self, pixels):
        self.sizes.append(len(pixels))
        self.reached.release()
        self.gate.acquire()
        if self.broken:
            raise SessionError("out of memory")
        return pixels[:, 0, 0, :1].astype(np.float32)

    def terminate(self) -> None: ...


def row(value: int):
    return np.full((2, 2, 3), value, np.uint16)


def test_those_that_wait_share_a_batch_and_each_gets_its_own():
    session = GatedSession()
    batches = Batches(session)
    first = batches.submit(row(0))
    session.reached.acquire()  # it runs alone, for nobody else waited
    rest = [batches.submit(row(value)) for value in range(1, 8)]
    session.gate.release(3)
    assert [float(future.result(30)[0]) for future in (first, *rest)] == list(range(8))
    assert session.sizes == [1, 4, 3]
    batches.close()


def test_a_batch_that_fails_is_told_to_all_in_it_and_the_next_runs():
    session = GatedSession()
    batches = Batches(session)
    first = batches.submit(row(0))
    session.reached.acquire()
    second = [batches.submit(row(value)) for value in (1, 2)]
    session.broken = True
    session.gate.release()
    with pytest.raises(SessionError):
        first.result(30)
    session.reached.acquire()
    session.gate.release()
    for future in second:
        with pytest.raises(SessionError, match="out of memory"):
            future.result(30)
    session.broken = False
    session.gate.release()
    assert batches.submit(row(7)).result(30)[0] == 7
    batches.close()


def test_what_waits_is_tagged_before_the_end():
    session = GatedSession()
    batches = Batches(session)
    waiting = [batches.submit(row(value)) for value in range(6)]
    session.gate.release(6)
    batches.close()
    assert [future.done() for future in waiting] == [True] * 6
    with pytest.raises(RuntimeError):
        batches.submit(row(0))


@pytest.fixture(scope="module")
def wd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tagger]:
    """A tagger of another family: alpha over white, turned as EXIF says, a rule for each category."""
    folder = tmp_path_factory.mktemp("wd")
    assert convert([str(write_tagger(folder / "published", folder / "demo")), str(folder / "model")]) == 0
    with Tagger(folder / "model", device="cpu", threshold={"general": LOW, "character": LOW}) as made:
        yield made


def test_another_family_treats_pillow_images_and_arrays_as_files_too(wd):
    rgba = np.dstack([smooth(), smooth(seed=1)[..., 0]])
    rgb, see_through = Image.fromarray(smooth()), Image.fromarray(rgba)
    for image in (rgb, see_through, see_through.quantize(64), see_through.convert("LA"), rgb.convert("L")):
        assert wd.tag(image) == wd.tag(encoded("PNG", image))
    assert wd.tag(rgba) == wd.tag(encoded("PNG", see_through)) != wd.tag(np.ascontiguousarray(rgba[..., :3]))
    turned = Image.Exif()
    turned[0x0112] = 6
    file = encoded("PNG", rgb, exif=turned)
    with Image.open(io.BytesIO(file)) as image:
        assert wd.tag(image) == wd.tag(file) != wd.tag(rgb)


def test_rules_by_category_and_as_text(wd):
    path = encoded("PNG", Image.fromarray(smooth()))
    categories = wd.model.category_by_tag
    folder = wd.model.folder
    with Tagger(folder, device="cpu", threshold="general=top3,character=top2") as made:
        found = [categories[tag].casefold() for tag, _ in made.tag(path)]
    assert sorted(found) == ["character"] * 2 + ["general"] * 3 + ["rating"] * ("rating" in found)
