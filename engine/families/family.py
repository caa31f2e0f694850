"""What the pipeline asks of a model family."""

from collections.abc import Callable, Sequence
from typing import Protocol

from engine.types import Preprocessing, Rgb, Row, Scores, TagScore

Select = Callable[[Scores], tuple[TagScore, ...]]
"""Of one picture's scores, float32 [tags], those that count, in the model's order."""


class Family(Protocol):
    """One kind of model. Stateless: used by many threads at once."""

    preprocessing: Preprocessing

    def pixels(self, data: bytes, key: str) -> int:
        """How many pixels a file will have decoded, told by its header. Raises `MediumError`."""
        ...

    def decode(self, data: bytes, key: str, *, max_pixels: int) -> Rgb:
        """A whole file -> uint8 [h, w, 3], RGB, with alpha treated as this family does. Raises `MediumError`."""
        ...

    def fit(self, rgb: Rgb, row: Row) -> None:
        """Put a decoded picture of any size into a row of the batch, [height, width, 3] of the preprocessing's dtype.

        All of it is written.
        """
        ...

    def selection(self, tags: Sequence[str], categories: Sequence[str], threshold: float) -> Select:
        """Which tags count. `tags` and `categories` are the model's, in its order."""
        ...
