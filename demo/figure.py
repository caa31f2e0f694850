"""The subject: a girl with a large head, or a cat, in the unit square."""

import numpy as np

from demo.canvas import Canvas, Colour, arc, darker, lighter, mirrored, mix, star
from demo.scene import Girl

_HAIR: dict[str, Colour] = {
    "black": (48, 42, 56),
    "blonde": (246, 208, 98),
    "blue": (74, 130, 226),
    "pink": (246, 138, 182),
    "silver": (206, 208, 218),
    "green": (106, 178, 122),
}
_EYES: dict[str, Colour] = {
    "blue": (44, 116, 236),
    "red": (222, 36, 44),
    "brown": (112, 70, 46),
    "green": (44, 150, 84),
}
_DRESSES: tuple[Colour, ...] = ((238, 124, 110), (120, 190, 180), (250, 226, 190), (150, 130, 210), (92, 110, 150))
_COATS: tuple[Colour, ...] = ((240, 164, 92), (90, 84, 96), (240, 236, 230), (160, 160, 172))
_SKIN: Colour = (255, 226, 206)
_INK: Colour = (66, 40, 58)
_GOLD: Colour = (252, 208, 74)
_WITCH: Colour = (74, 50, 122)


def paint_girl(canvas: Canvas, girl: Girl, rng: np.random.Generator) -> None:
    """Draw her from back to front."""
    base = _HAIR[girl.hair]
    hair = mix(base, lighter(base) if rng.random() < 0.5 else darker(base), rng.uniform(0, 0.18))
    bow: Colour = (226, 52, 70) if girl.hair != "pink" else (250, 250, 250)
    if girl.ears:
        _ears(canvas, hair)
    _back_hair(canvas, girl, hair)
    _body(canvas, girl, rng)
    if girl.turned:
        if girl.long:
            _back_hair(canvas, girl, hair)
        canvas.ellipse((0.5, 0.4), (0.29, 0.27), hair, darker(hair))
    else:
        _face(canvas, girl, hair)
        _fringe(canvas, hair)
        if girl.glasses:
            _glasses(canvas, rng)
    if girl.hat:
        _hat(canvas, girl, rng)
    if girl.ribbon:
        _bow(canvas, 0.24, 0.27, bow)


def _back_hair(canvas: Canvas, girl: Girl, hair: Colour) -> None:
    shade = darker(hair, 0.22)
    if girl.long:
        left = [(0.5, 0.1), (0.26, 0.12), (0.19, 0.34), (0.17, 0.6), (0.1, 0.8), (0.15, 0.9), (0.27, 0.86), (0.4, 0.8)]
        canvas.blob(mirrored(left), shade, darker(hair, 0.45))
    else:
        left = [(0.5, 0.1), (0.26, 0.12), (0.2, 0.3), (0.18, 0.5), (0.2, 0.63), (0.31, 0.66), (0.42, 0.62)]
        canvas.blob(mirrored(left), shade, darker(hair, 0.45))


def _body(canvas: Canvas, girl: Girl, rng: np.random.Generator) -> None:
    dress = _DRESSES[rng.integers(len(_DRESSES))]
    sleeves: Colour = lighter(dress, 0.5)
    if girl.character == "miko_(demo)":
        dress, sleeves = (214, 40, 48), (252, 250, 250)
    elif girl.character == "sora,_star_witch":
        dress, sleeves = _WITCH, lighter(_WITCH, 0.25)
    elif girl.character == "d'arc_(demo)":
        dress, sleeves = (240, 240, 246), (150, 158, 176)
    for x in (0.44, 0.56):
        canvas.line([(x, 0.85), (x, 0.94)], _SKIN, 0.05)
        canvas.ellipse((x, 0.955), (0.042, 0.024), darker(dress, 0.5))
    for side in (-1, 1):
        arm = [
            (0.5 + side * 0.08, 0.64),
            (0.5 + side * 0.2, 0.72),
            (0.5 + side * 0.18, 0.78),
            (0.5 + side * 0.08, 0.74),
        ]
        canvas.ellipse((0.5 + side * 0.185, 0.755), (0.028, 0.028), _SKIN, darker(_SKIN))
        canvas.polygon(arm, sleeves, darker(sleeves))
    skirt = mirrored([(0.43, 0.62), (0.41, 0.7), (0.31, 0.88), (0.4, 0.9)])
    canvas.polygon(skirt, dress, darker(dress))
    if girl.character is None:
        canvas.line([(0.335, 0.855), (0.5, 0.875), (0.665, 0.855)], lighter(dress, 0.6), 0.014)
    elif girl.character == "miko_(demo)":
        canvas.polygon(mirrored([(0.43, 0.62), (0.41, 0.72)]), sleeves, darker(sleeves))
        canvas.line([(0.44, 0.63), (0.5, 0.71), (0.56, 0.63)], dress, 0.018)
    elif girl.character == "sora,_star_witch":
        canvas.polygon(star((0.5, 0.79), 0.085), _GOLD)
    else:
        canvas.line([(0.5, 0.68), (0.5, 0.88)], (40, 90, 200), 0.045)
        canvas.line([(0.41, 0.76), (0.59, 0.76)], (40, 90, 200), 0.045)


def _face(canvas: Canvas, girl: Girl, hair: Colour) -> None:
    outline = [(0.5, 0.18), (0.3, 0.18), (0.235, 0.38), (0.245, 0.54), (0.36, 0.645), (0.5, 0.685)]
    canvas.blob(mirrored(outline), _SKIN, darker(_SKIN))
    for x in (0.5 - 0.16, 0.5 + 0.16):
        canvas.ellipse((x, 0.545), (0.038, 0.02), (255, 186, 180))
    for x in (0.5 - 0.115, 0.5 + 0.115):
        if girl.happy:
            canvas.line(arc((x, 0.48), (0.055, 0.055), 195, 345, 20), _INK, 0.022)
        else:
            _eye(canvas, x, _EYES[girl.eyes])
        canvas.line(arc((x, 0.40), (0.055, 0.03), 220, 320, 12), darker(hair, 0.5), 0.01)
    if girl.laughing:
        canvas.polygon(arc((0.5, 0.56), (0.065, 0.078), 0, 180, 30), (150, 30, 46), _INK)
        canvas.ellipse((0.5, 0.613), (0.034, 0.02), (246, 120, 128))
    else:
        canvas.line(arc((0.5, 0.575), (0.026, 0.016), 20, 160, 16), _INK, 0.01)


def _eye(canvas: Canvas, x: float, iris: Colour) -> None:
    canvas.ellipse((x, 0.465), (0.055, 0.07), (255, 255, 255))
    canvas.ellipse((x, 0.468), (0.047, 0.066), iris, darker(iris, 0.45))
    canvas.ellipse((x, 0.492), (0.03, 0.03), lighter(iris, 0.3))
    canvas.ellipse((x, 0.46), (0.018, 0.027), darker(iris, 0.75))
    canvas.ellipse((x - 0.018, 0.436), (0.015, 0.017), (255, 255, 255))
    canvas.line(arc((x, 0.455), (0.058, 0.066), 200, 340, 20), _INK, 0.018)


def _fringe(canvas: Canvas, hair: Colour) -> None:
    edge = darker(hair, 0.4)
    lock = [(0.3, 0.13), (0.2, 0.24), (0.19, 0.46), (0.225, 0.6), (0.265, 0.44), (0.29, 0.3)]
    canvas.blob(lock, hair, edge)
    canvas.blob([(1 - x, y) for x, y in lock], hair, edge)
    teeth = [
        (0.26, 0.4),
        (0.33, 0.33),
        (0.38, 0.41),
        (0.44, 0.33),
        (0.51, 0.42),
        (0.57, 0.33),
        (0.63, 0.4),
        (0.68, 0.33),
    ]
    crown = [(0.74, 0.4), (0.78, 0.26), (0.68, 0.12), (0.5, 0.075), (0.32, 0.12), (0.22, 0.26)]
    canvas.polygon([*teeth, *arc((0.5, 0.37), (0.285, 0.28), 0, -180, 40)], hair, edge) if crown else None
    canvas.line(arc((0.5, 0.34), (0.2, 0.17), 215, 265, 16), lighter(hair, 0.45), 0.022)
    canvas.line(arc((0.5, 0.34), (0.2, 0.17), 275, 292, 8), lighter(hair, 0.45), 0.022)


def _ears(canvas: Canvas, hair: Colour) -> None:
    for side in (-1, 1):
        outer = [(0.5 + side * 0.27, 0.32), (0.5 + side * 0.27, 0.005), (0.5 + side * 0.06, 0.13)]
        inner = [(0.5 + side * 0.235, 0.24), (0.5 + side * 0.245, 0.06), (0.5 + side * 0.11, 0.14)]
        canvas.polygon(outer, hair, darker(hair, 0.4))
        canvas.polygon(inner, (255, 184, 192))


def _glasses(canvas: Canvas, rng: np.random.Generator) -> None:
    rim: Colour = ((40, 34, 50), (150, 40, 50))[rng.integers(2)]
    for x in (0.5 - 0.12, 0.5 + 0.12):
        canvas.line(arc((x, 0.475), (0.095, 0.092)), rim, 0.02)
    canvas.line(arc((0.5, 0.475), (0.028, 0.02), 180, 360, 10), rim, 0.02)


def _hat(canvas: Canvas, girl: Girl, rng: np.random.Generator) -> None:
    witch = girl.character == "sora,_star_witch" or rng.random() < 0.5
    if witch:
        felt = _WITCH if girl.character else ((60, 56, 70), (150, 50, 70), (50, 110, 90))[rng.integers(3)]
        canvas.blob(
            [(0.27, 0.26), (0.37, 0.1), (0.45, -0.06), (0.6, -0.05), (0.58, 0.04), (0.66, 0.12), (0.73, 0.26)], felt
        )
        canvas.ellipse((0.5, 0.24), (0.42, 0.075), felt, darker(felt, 0.4))
        canvas.polygon(arc((0.5, 0.215), (0.22, 0.035)), _GOLD if girl.character else lighter(felt, 0.5))
        if girl.character:
            canvas.polygon(star((0.5, 0.12), 0.07), _GOLD)
        return
    straw: Colour = (236, 200, 124)
    canvas.ellipse((0.5, 0.17), (0.26, 0.16), straw, darker(straw))
    canvas.ellipse((0.5, 0.25), (0.44, 0.075), straw, darker(straw))
    canvas.line(arc((0.5, 0.17), (0.26, 0.075), 15, 165, 24), ((200, 60, 70), (70, 110, 190))[rng.integers(2)], 0.045)


def _bow(canvas: Canvas, x: float, y: float, colour: Colour) -> None:
    edge = darker(colour, 0.35)
    for side in (-1, 1):
        tail = [(x, y), (x + side * 0.035, y + 0.15), (x + side * 0.085, y + 0.12)]
        wing = [(x, y), (x + side * 0.13, y - 0.085), (x + side * 0.155, y), (x + side * 0.13, y + 0.075)]
        canvas.polygon(tail, colour, edge)
        canvas.polygon(wing, colour, edge)
    canvas.ellipse((x, y), (0.034, 0.038), lighter(colour, 0.15), edge)


def paint_cat(canvas: Canvas, rng: np.random.Generator) -> None:
    """A cat that sits and looks at you."""
    coat = _COATS[rng.integers(len(_COATS))]
    edge, belly = darker(coat, 0.45), lighter(coat, 0.55)
    canvas.line(arc((0.72, 0.74), (0.14, 0.17), 90, -40, 24), edge, 0.085)
    canvas.line(arc((0.72, 0.74), (0.14, 0.17), 90, -40, 24), coat, 0.07)
    canvas.blob(mirrored([(0.4, 0.5), (0.28, 0.7), (0.22, 0.98), (0.42, 0.98)]), coat, edge)
    canvas.ellipse((0.5, 0.8), (0.12, 0.14), belly)
    for side in (-1, 1):
        canvas.ellipse((0.5 + side * 0.1, 0.945), (0.07, 0.035), coat, edge)
        canvas.polygon([(0.5 + side * 0.29, 0.36), (0.5 + side * 0.27, 0.05), (0.5 + side * 0.06, 0.17)], coat, edge)
        canvas.polygon(
            [(0.5 + side * 0.24, 0.27), (0.5 + side * 0.24, 0.11), (0.5 + side * 0.12, 0.18)], (255, 184, 192)
        )
    canvas.ellipse((0.5, 0.39), (0.31, 0.25), coat, edge)
    canvas.ellipse((0.5, 0.48), (0.13, 0.1), belly)
    for side in (-1, 1):
        canvas.ellipse((0.5 + side * 0.13, 0.37), (0.055, 0.062), (150, 200, 90), edge)
        canvas.ellipse((0.5 + side * 0.13, 0.37), (0.022, 0.052), _INK)
        canvas.ellipse((0.5 + side * 0.13 - 0.02, 0.345), (0.014, 0.014), (255, 255, 255))
        canvas.line(arc((0.5 + side * 0.045, 0.475), (0.045, 0.035), 0, 180, 14), _INK, 0.012)
        for dy in (-0.03, 0.02):
            canvas.line(
                [(0.5 + side * 0.16, 0.47 + dy / 2), (0.5 + side * 0.36, 0.46 + 2 * dy)], lighter(coat, 0.8), 0.008
            )
    canvas.polygon([(0.47, 0.445), (0.53, 0.445), (0.5, 0.478)], (244, 130, 140))
