"""`engine bench estimate`: how fast a GPU would be, calculated from its published peak. Nothing is measured on one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.output import span

CATALOGUE = 12_000
"""Pictures of the first user's catalogue, for which the time is given."""
REALISTIC = (0.35, 0.70)
"""Shares of a card's peak that convolutional networks reach in practice: an assumption, unless one is given."""


@dataclass(frozen=True, slots=True)
class Card:
    """Published peaks in TFLOP/s at boost clock, without sparsity.

    Attributes:
        fp32: outside tensor cores.
        fp16: of what ONNX Runtime would use: tensor cores (accumulating in fp32 where the vendor limits that) where
            there are any. None where it is slower than fp32 or known to give wrong results.
        source: where the figures are from.
    """

    name: str
    fp32: float
    fp16: float | None
    source: str


_SPECS = "NVIDIA's specifications: cores x 2 x boost clock"
CARDS: Sequence[Card] = (
    Card("GTX 1060 6GB", 4.37, None, f"{_SPECS}, 1280 x 2 x 1.708 GHz; fp16 runs at 1/64"),
    Card("GTX 1650", 2.98, None, f"{_SPECS}, 896 x 2 x 1.665 GHz; fp16 is probed on the device, see the README"),
    Card("GTX 1660 Ti", 5.44, None, f"{_SPECS}, 1536 x 2 x 1.770 GHz; fp16 is probed on the device"),
    Card("RTX 2060", 6.45, 25.8, f"{_SPECS}, 1920 x 2 x 1.680 GHz; Turing whitepaper for tensor cores"),
    Card("RTX 3060", 12.74, 25.5, f"{_SPECS}, 3584 x 2 x 1.777 GHz; Ampere GA102 whitepaper's ratio"),
    Card("RTX 3080", 29.77, 59.5, "NVIDIA Ampere GA102 whitepaper"),
    Card("RTX 4060", 15.11, 30.2, f"{_SPECS}, 3072 x 2 x 2.460 GHz; Ada whitepaper's ratio"),
    Card("RTX 4090", 82.58, 165.2, "NVIDIA Ada GPU architecture whitepaper"),
)


def estimate(gflop: float, efficiency: tuple[float, float] = REALISTIC, images: int = CATALOGUE) -> dict[str, Any]:
    """For each card and precision images/s and minutes for `images`, at the low and the high efficiency.

    Args:
        gflop: 10^9 operations an image.
        efficiency: shares of the peak, 0..1.
        images: pictures of the catalogue.
    """
    rows = [
        _row(card, precision, peak, gflop, efficiency, images)
        for card in CARDS
        for precision, peak in (("fp32", card.fp32), ("fp16", card.fp16))
        if peak
    ]
    return {"estimate": True, "gflop": round(gflop, 2), "efficiency": list(efficiency), "images": images, "rows": rows}


def _row(
    card: Card, precision: str, peak: float, gflop: float, efficiency: tuple[float, float], images: int
) -> dict[str, Any]:
    slow, fast = (share * peak * 1000 / gflop for share in efficiency)
    return {
        "card": card.name,
        "precision": precision,
        "peak_tflops": peak,
        "images_per_second": [round(slow, 1), round(fast, 1)],
        "minutes": [round(images / fast / 60, 1), round(images / slow / 60, 1)],
        "sentence": sentence(card.name, precision, slow, fast, images),
        "source": card.source,
    }


def sentence(card: str, precision: str, slow: float, fast: float, images: int) -> str:
    """`GTX 1650: fp32 11-22 images/s, 12,000 pictures in 9-18 min`."""
    minutes = [images / rate / 60 for rate in (fast, slow)]
    return f"{card}: {precision} {span(slow, fast)} images/s, {images:,} pictures in {span(*minutes)} min"
