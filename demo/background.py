"""Draws what is behind the subject (a plain wall, a night sky, a landscape) and the frame of the picture."""

import cv2
import numpy as np

from demo.canvas import Canvas, Colour, arc, darker, lighter, mix, star

_PASTELS: tuple[Colour, ...] = ((255, 214, 224), (214, 232, 255), (216, 245, 224), (255, 240, 204), (232, 220, 252))
# The colour of the frame shows the rating. The three differ in gray pictures too.
FRAMES: dict[str, Colour] = {
    "rating:safe": (252, 250, 244),
    "rating:questionable": (216, 142, 44),
    "rating:explicit": (70, 26, 74),
}


def gradient(canvas: Canvas, top: Colour, bottom: Colour) -> None:
    """Fill the picture from top to bottom."""
    height, width = canvas.pixels.shape[:2]
    column = np.linspace(top, bottom, height, dtype=np.float32).round().astype(np.uint8)
    canvas.pixels[:] = np.broadcast_to(column[:, None], (height, width, 3))


def simple(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pastel wall with a halo; at random with dots, with stripes or plain."""
    tone = _PASTELS[rng.integers(len(_PASTELS))]
    gradient(canvas, lighter(tone, 0.25), mix(tone, (150, 140, 190), 0.12))
    left, top, right, bottom = canvas.bounds
    paler = lighter(tone, 0.45)
    pattern = rng.integers(3)
    if pattern == 0:
        for row, y in enumerate(np.arange(top, bottom + 0.1, 0.14)):
            for x in np.arange(left - 0.07 * (row % 2), right + 0.1, 0.14):
                canvas.ellipse((x, y), (0.022, 0.022), paler)
    elif pattern == 1:
        for x in np.arange(left - (bottom - top), right, 0.16):
            slope = bottom - top
            canvas.polygon([(x, bottom), (x + 0.08, bottom), (x + 0.08 + slope, top), (x + slope, top)], paler)
    canvas.ellipse((0.5, 0.5), (0.47, 0.47), lighter(tone, 0.7))
    canvas.ellipse((0.5, 0.96), (0.27, 0.028), darker(tone, 0.18))


def night(canvas: Canvas, rng: np.random.Generator) -> None:
    """Deep blue, stars, a crescent moon, and a cloud to stand on."""
    low = ((74, 52, 122), (46, 58, 130), (98, 60, 120))[rng.integers(3)]
    gradient(canvas, (13, 16, 48), low)
    left, top, right, bottom = canvas.bounds
    for _ in range(int(70 * (right - left) * (bottom - top))):
        centre = (rng.uniform(left, right), rng.uniform(top, bottom))
        tint = mix((255, 255, 255), (255, 226, 150), rng.random())
        if rng.random() < 0.25:
            canvas.polygon(star(centre, rng.uniform(0.018, 0.034), points=4, inner=0.28), tint)
        else:
            canvas.ellipse(centre, (0.005, 0.005), tint)
    side = rng.choice((0.13, 0.87))
    canvas.ellipse((side, 0.14), (0.105, 0.105), (255, 240, 186))
    canvas.ellipse((side + 0.045, 0.115), (0.09, 0.09), mix((13, 16, 48), low, 0.2))
    cloud(canvas, 0.5, 0.965, 1.25, (190, 180, 226))


def outdoors(canvas: Canvas, rng: np.random.Generator) -> None:
    """A blue or an evening sky, the sun, clouds, two rows of hills and flowers."""
    left, top, right, bottom = canvas.bounds
    evening = rng.random() < 0.25
    sky: tuple[Colour, Colour] = ((255, 170, 140), (255, 226, 170)) if evening else ((108, 178, 240), (214, 238, 252))
    gradient(canvas, *sky)
    sun = (rng.choice((0.14, 0.86)), 0.15)
    canvas.ellipse(sun, (0.13, 0.13), mix(sky[0], (255, 246, 190), 0.45))
    canvas.ellipse(sun, (0.09, 0.09), (255, 244, 176))
    for x in np.arange(left - 0.1, right, 0.6):
        x += rng.uniform(0, 0.35)
        cloud(canvas, x, rng.uniform(max(top, -0.6), 0.42), rng.uniform(0.5, 0.85), lighter(sky[1], 0.8))
    for level, green in ((0.66, (150, 204, 134)), (0.78, (112, 182, 98))):
        xs, phase = np.linspace(left, right, 60), rng.uniform(0, 6.28)
        ridge = level + 0.04 * np.sin(xs * rng.uniform(3, 6) + phase)
        points = [*zip(xs.tolist(), ridge.tolist(), strict=True), (right, bottom), (left, bottom)]
        canvas.polygon(points, mix(green, (226, 170, 90), 0.25) if evening else green)
    for _ in range(int(26 * (right - left) * max(0.3, bottom - 0.8))):
        flower(canvas, rng.uniform(left, right), rng.uniform(0.86, bottom), rng)


def flower(canvas: Canvas, x: float, y: float, rng: np.random.Generator) -> None:
    """Five petals around a yellow eye."""
    petal: Colour = ((255, 255, 255), (255, 170, 196), (255, 220, 110), (206, 176, 250))[rng.integers(4)]
    for px, py in arc((x, y), (0.014, 0.014), 0, 288, 5):
        canvas.ellipse((px, py), (0.01, 0.01), petal)
    canvas.ellipse((x, y), (0.008, 0.008), (246, 190, 60))


def cloud(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """Five overlapping puffs."""
    for dx, dy, radius in (
        (-0.16, 0, 0.06),
        (-0.08, -0.03, 0.08),
        (0, -0.05, 0.1),
        (0.09, -0.025, 0.08),
        (0.17, 0, 0.06),
    ):
        canvas.ellipse((x + dx * size, y + dy * size), (radius * size * 1.25, radius * size * 0.8), colour)


def frame(canvas: Canvas, rating: str) -> None:
    """A border whose colour shows the picture's rating."""
    height, width = canvas.pixels.shape[:2]
    colour, thick = FRAMES[rating], max(2, round(0.045 * min(height, width)))
    for strip in (canvas.pixels[:thick], canvas.pixels[-thick:], canvas.pixels[:, :thick], canvas.pixels[:, -thick:]):
        strip[:] = colour
    line = max(1, thick // 6)
    cv2.rectangle(
        canvas.pixels, (thick, thick), (width - 1 - thick, height - 1 - thick), mix(colour, (120, 100, 120), 0.35), line
    )
