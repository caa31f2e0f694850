"""Anti-aliased shapes in unit coordinates: (0, 0) and (1, 1) are corners of the picture's central square."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]  # RGB
Point = tuple[float, float]  # x, y in unit coordinates
_SHIFT = 6  # fractional bits of the coordinates given to OpenCV


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from `a` to `b`."""
    r, g, b_ = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return r, g, b_


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """A shade of `colour`, for outlines and folds."""
    return mix(colour, (40, 20, 60), share)


def lighter(colour: Colour, share: float = 0.4) -> Colour:
    """A tint of `colour`, for highlights."""
    return mix(colour, (255, 255, 255), share)


@dataclass(frozen=True)
class Canvas:
    """Pixels to draw on.

    Attributes:
        pixels: uint8 [height, width, 3] RGB, changed in place.
        origin: the pixel where (0, 0) lies.
        scale: pixels in one unit.
    """

    pixels: npt.NDArray[np.uint8]
    origin: Point
    scale: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the whole picture in unit coordinates."""
        (height, width), (x, y) = self.pixels.shape[:2], self.origin
        return -x / self.scale, -y / self.scale, (width - x) / self.scale, (height - y) / self.scale

    def moved(self, dx: float, dy: float, zoom: float) -> "Canvas":
        """The same pixels, seen with the unit square shifted and zoomed about its bottom centre."""
        x, y = self.origin
        return Canvas(
            self.pixels,
            (x + self.scale * (dx + (1 - zoom) / 2), y + self.scale * (dy + 1 - zoom)),
            self.scale * zoom,
        )

    def polygon(self, points: Sequence[Point], fill: Colour, edge: Colour | None = None, width: float = 0.008) -> None:
        """A filled polygon, outlined if `edge` is given."""
        corners = self._fixed(points)
        cv2.fillPoly(self.pixels, [corners], fill, cv2.LINE_AA, _SHIFT)
        if edge:
            cv2.polylines(self.pixels, [corners], True, edge, self._thickness(width), cv2.LINE_AA, _SHIFT)

    def ellipse(
        self, centre: Point, radii: Point, fill: Colour, edge: Colour | None = None, width: float = 0.008
    ) -> None:
        """A filled ellipse."""
        self.polygon(arc(centre, radii), fill, edge, width)

    def blob(self, points: Sequence[Point], fill: Colour, edge: Colour | None = None, width: float = 0.008) -> None:
        """A filled closed curve that rounds the corners given."""
        self.polygon(_rounded(points), fill, edge, width)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """An open line through the points."""
        cv2.polylines(self.pixels, [self._fixed(points)], False, colour, self._thickness(width), cv2.LINE_AA, _SHIFT)

    def _thickness(self, width: float) -> int:
        return max(1, round(width * self.scale))

    def _fixed(self, points: Sequence[Point]) -> npt.NDArray[np.int32]:
        pixels = np.asarray(points, np.float64) * self.scale + self.origin
        fixed: npt.NDArray[np.int32] = np.rint(pixels * 2**_SHIFT).astype(np.int32)
        return fixed


def arc(centre: Point, radii: Point, start: float = 0, end: float = 360, count: int = 48) -> list[Point]:
    """Points on an ellipse from `start` to `end` degrees, clockwise from three o'clock."""
    angles = np.radians(np.linspace(start, end, count))
    xs, ys = centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def star(centre: Point, radius: float, points: int = 5, inner: float = 0.45) -> list[Point]:
    """The corners of a star with one point up."""
    steps = np.arange(2 * points)
    angles, lengths = np.pi * (steps / points - 0.5), np.where(steps % 2, inner * radius, radius)
    xs, ys = centre[0] + lengths * np.cos(angles), centre[1] + lengths * np.sin(angles)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def mirrored(points: Sequence[Point]) -> list[Point]:
    """The points and, on the way back, their mirror images about the middle of the unit square."""
    return [*points, *((1 - x, y) for x, y in reversed(points))]


def _rounded(points: Sequence[Point]) -> list[Point]:
    """Chaikin's corner cutting, three times."""
    corners = np.asarray(points, np.float64)
    for _ in range(3):
        after = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], axis=1).reshape(-1, 2)
    return [(x, y) for x, y in corners.tolist()]
