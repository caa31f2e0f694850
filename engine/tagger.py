"""Single pictures, tagged at once from Python: `Tagger("model").tag("a.jpg")`.

The tags are those of a run, on a CPU to the last bit: the same families, decoders and session. What differs is who
waits. Here a caller decodes its picture in its own thread and waits for its scores; one thread takes what waits at that
moment, up to a batch, and runs the session once for all of it. So callers that come together share a batch,
and one that comes alone waits for nobody.
"""

import io
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import ValidationError

from engine.config import RunConfig
from engine.errors import ConfigError, MediumError, ModelError, Undecodable, Unreadable, first_line
from engine.families import family_of
from engine.flow.channels import Stop, WeightedSemaphore
from engine.machine import cores
from engine.model.batches import Batches
from engine.model.folder import open_model
from engine.model.open import open_session, session_config
from engine.types import Rgb, Row, Scores, TagScore
from engine.vectors.hash import picture_hash

Picture = str | os.PathLike[str] | bytes | bytearray | memoryview | npt.NDArray[np.uint8] | Image.Image
"""A path; a file's bytes; uint8 [height, width] grey, [height, width, 3] RGB or [height, width, 4] RGBA; a Pillow image
of any mode."""
Tags = tuple[TagScore, ...]
"""Of one picture, those that count, in the model's order. `dict(tags)` is score by tag."""


class Look(NamedTuple):
    """What a model sees in a picture.

    Attributes:
        tags: those that count.
        scores: float32 [tags], of all the model's tags.
        features: float32 [features], the vector by which alike pictures are found; None from a tagger without.
        hash: of what the picture looks like, see `engine.vectors.hash`.
        model: SHA-256 of the model, for vectors of two models cannot be compared.
    """

    tags: Tags
    scores: Scores
    features: Scores | None
    hash: int
    model: str


Threshold = float | str | Mapping[str, float | str]
"""The lowest score that counts: of all tags, or by category, or as `--threshold` has it (`0.35,character=0.85`).

What it leaves open is the default of the model's family."""

_LOSSLESS_AS_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""Pillow's modes that a PNG holds as they are."""
_WITH_ALPHA = {"PA", "La", "RGBa"}


class Settings(TypedDict, total=False):
    """What a `Tagger` may be told: settings of a run by the same names, with the same defaults (docs/settings.md)."""

    threshold: Threshold | None
    device: str
    precision: str | None
    batch_size: int | None
    intra_op_threads: int | None
    vram_limit: int | str | None
    decode_threads: int | None
    max_pixels: int | str
    max_file_size: int | str
    features: bool


class Tagger:
    """A model that tags pictures one by one. May be used by any number of threads; each gets its own picture's tags.

    Attributes:
        model: the model folder: `model.tags`, `model.categories`, `model.category_by_tag`.
        device: where the model runs, `cpu` or `cuda`.
        max_file_size: bytes; larger files are refused.
        max_pixels: larger pictures are refused by their header, before anything is allocated.
    """

    def __init__(self, model: str | os.PathLike[str], **settings: Unpack[Settings]) -> None:
        """Load a model folder that `engine convert` wrote; takes seconds and the memory of the model.

        `features`: whether `look` shall give feature vectors, which takes a little more time for each picture.

        Raises:
            ConfigError: a setting that does not exist or is out of range, or a threshold for no category of the model.
            ModelError: the model folder cannot be used, or gives no features although they are asked for.
            SessionError: there is no such device, or it does not work.
        """
        features = settings.pop("features", False)
        config = _config(settings)
        self.model = open_model(Path(model))
        if features and not self.model.features:
            raise ModelError(
                f"the model {self.model.project} gives no features, by which alike pictures are found: convert it "
                "again with --overwrite; if that says so too, its network has none"
            )
        self._features = (self.model.features or 0) if features else 0
        self.max_file_size, self.max_pixels = config.max_file_size, config.max_pixels
        self._family = family_of(self.model.preprocessing)
        self._select = self._family.selection(self.model.tags, self.model.categories, config.threshold)
        session = open_session(
            self.model, self.model.precision(config.precision), session_config(config, features=features)
        )
        self.device = session.device
        self._threads = config.decode_threads or cores()
        self._ahead = 2 * session.batch_size + self._threads
        # As in a run: pictures decoded at the same time share one budget of pixels.
        self._pixels = WeightedSemaphore(config.max_pixels, Stop())
        self._decoding = threading.BoundedSemaphore(self._threads)
        self._batches = Batches(session)
        self._end = weakref.finalize(self, self._batches.close)

    def tag(self, picture: Picture) -> Tags:
        """The tags of one picture.

        Raises:
            Unreadable: there is no such file, or it is larger than `max_file_size`.
            Undecodable: the picture is truncated, broken, or larger than `max_pixels`.
            NotAPicture: the content is no picture at all. All three are a `MediumError`.
            SessionError: the model cannot be run any more, such as for a lack of memory.
            MemoryError: there is too little memory for this picture at this moment.
            TypeError, ValueError: an object of another type than `Picture`; an array of another shape or dtype.
        """
        return self._select(self.scores(picture))

    def scores(self, picture: Picture) -> Scores:
        """The scores of all the model's tags, float32 [tags], in the order of `model.tags`. Raises as `tag`."""
        return self._scores(self._begin(picture).result())

    def look(self, picture: Picture) -> Look:
        """Tags, scores, features and hash of a picture. Raises as `tag`."""
        row, its_hash = self._row(picture, hashed=True)
        found = self._batches.submit(row).result()
        scores = self._scores(found)
        features = found[-self._features :] if self._features else None
        return Look(self._select(scores), scores, features, its_hash, self.model.sha256)

    def tag_many(self, pictures: Iterable[Picture]) -> Iterator[Tags | MediumError]:
        """The tags of each picture, in the order of the pictures; some are read and decoded ahead.

        A picture that cannot be tagged gives its `MediumError` as its result, so that the others are not lost. What
        else `tag` raises is raised. Memory does not grow with the number of pictures.
        """
        waiting: deque[Future[Future[Scores]]] = deque()
        with ThreadPoolExecutor(self._threads, "tagger-decode") as pool:
            try:
                for picture in pictures:
                    waiting.append(pool.submit(self._begin, picture))
                    if len(waiting) >= self._ahead:
                        yield self._finish(waiting.popleft())
                while waiting:
                    yield self._finish(waiting.popleft())
            finally:  # who stops asking does not wait for the rest
                for begun in waiting:
                    begun.cancel()

    def close(self) -> None:
        """Tag what waits, then end; the memory is free when the object is gone. Happens by itself with the object."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, picture: Picture) -> "Future[Scores]":
        return self._batches.submit(self._row(picture)[0])

    def _scores(self, found: Scores) -> Scores:
        return found[: -self._features] if self._features else found

    def _finish(self, begun: "Future[Future[Scores]]") -> Tags | MediumError:
        try:
            return self._select(self._scores(begun.result().result()))
        except MediumError as error:
            return error

    def _row(self, picture: Picture, *, hashed: bool = False) -> tuple[Row, int]:
        """The picture as a row for the model; and its hash if that is wanted, else 0."""
        shape = self._family.preprocessing
        row = np.empty((shape.height, shape.width, 3), shape.dtype)
        if isinstance(picture, np.ndarray):
            picture = _from_array(picture)
        if isinstance(picture, Image.Image):
            with self._memory_for(picture.width * picture.height):
                picture = self._from_pillow(picture)
        if isinstance(picture, np.ndarray):
            with self._decoding:
                self._family.fit(picture, row)
                return row, picture_hash(picture) if hashed else 0
        data, key = self._file(picture)
        with self._memory_for(self._family.pixels(data, key)):
            rgb = self._family.decode(data, key, max_pixels=self.max_pixels)
            self._family.fit(rgb, row)
            return row, picture_hash(rgb) if hashed else 0

    def _file(self, picture: str | os.PathLike[str] | bytes | bytearray | memoryview) -> tuple[bytes, str]:
        """A file's content, and its name where it has one."""
        if isinstance(picture, str | os.PathLike):
            path = Path(picture)
            return read_file(path, self.max_file_size), path.name
        if not isinstance(picture, bytes | bytearray | memoryview):
            raise TypeError(
                f"{type(picture).__name__} is no picture: give a path, bytes, a numpy array or a Pillow image"
            )
        size = picture.nbytes if isinstance(picture, memoryview) else len(picture)
        if size > self.max_file_size:
            raise _too_large(self.max_file_size)
        return bytes(picture), ""

    def _from_pillow(self, image: Image.Image) -> Rgb | bytes:
        """A Pillow image as an array where that is all of it; else as a file, which the family decodes as its own.

        So alpha, palettes and 16 bits are treated as in a file of the same content.
        """
        if image.width * image.height > self.max_pixels:
            raise Undecodable(f"{image.width} x {image.height} pixels are more than the limit of {self.max_pixels:,}")
        try:
            image.load()
            if self._family.traits.upright:
                image = ImageOps.exif_transpose(image)
            if image.mode == "RGB" and "transparency" not in image.info:
                return np.asarray(image)
            if image.mode not in _LOSSLESS_AS_PNG:
                image = image.convert("RGBA" if image.mode in _WITH_ALPHA else "RGB")
            file = io.BytesIO()
            image.save(file, "PNG", compress_level=0, icc_profile=None)
        except (OSError, SyntaxError, ValueError) as error:  # Pillow reads the file now, and it may be broken
            raise Undecodable(f"Pillow cannot read it: {first_line(error)}") from error
        return file.getvalue()

    def _memory_for(self, pixels: int) -> "_Share":
        return _Share(self._decoding, self._pixels, min(pixels, self.max_pixels))


class _Share:
    """A place among those that decode, and a share of the memory for pictures, for the length of a block."""

    def __init__(self, decoding: threading.BoundedSemaphore, budget: WeightedSemaphore, pixels: int) -> None:
        self._decoding, self._budget, self._amount = decoding, budget, pixels

    def __enter__(self) -> None:
        self._decoding.acquire()
        self._budget.acquire(self._amount)

    def __exit__(self, *_: object) -> None:
        self._budget.release(self._amount)
        self._decoding.release()


def read_file(path: Path, max_bytes: int) -> bytes:
    """A file that the user named. Raises `Unreadable`."""
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise Unreadable(f"cannot be read: {error}") from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    return data


def _too_large(max_bytes: int) -> Unreadable:
    return Unreadable(f"larger than {max_bytes / 1e6:.0f} MB: --max-file-size raises the limit")


def _from_array(array: npt.NDArray[Any]) -> Rgb | Image.Image:
    """RGB as it is; grey and RGBA as a Pillow image, so that the family treats them as those of a file."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(
            f"an array of {array.dtype} {list(array.shape)} is no picture: it must be uint8 [height, width, 3], RGB "
            "(or [height, width] grey, [height, width, 4] RGBA)"
        )
    if channels == 3:
        return np.ascontiguousarray(array)
    return Image.fromarray(np.ascontiguousarray(array if channels == 4 else array.reshape(array.shape[:2])))


def _config(settings: Settings) -> RunConfig:
    """The settings with a run's defaults. Raises `ConfigError`."""
    if unknown := settings.keys() - Settings.__annotations__.keys():
        raise ConfigError(f"there is no setting {min(unknown)} of a Tagger, only {', '.join(Settings.__annotations__)}")
    given: dict[str, Any] = dict(settings)
    if isinstance(threshold := given.get("threshold"), Mapping):
        given["threshold"] = ",".join(f"{category}={least}" for category, least in threshold.items()) or None
    try:
        return RunConfig(**given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {str(first['msg']).removeprefix('Value error, ')}") from None
