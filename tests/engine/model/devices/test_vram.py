"""The batch size from the free memory."""

from dataclasses import replace
from typing import Any

import pytest

from engine.model.devices import vram
from engine.model.devices.device import Unavailable
from engine.model.devices.nvml import MB, Memory
from engine.model.session import SessionConfig
from engine.types import Preprocessing
from tests.support.onnxruntime_gpu import GTX_1650, H100

SHAPE = Preprocessing("deepdanbooru", 512, 512)
WEIGHTS = 644 * MB


@pytest.mark.parametrize(
    ("memory", "element", "more", "batch"),
    [
        (GTX_1650, 4, {}, 4),
        (GTX_1650, 2, {"weights": WEIGHTS // 2}, 16),
        (None, 4, {}, 4),
        (H100, 4, {}, 64),
        (H100, 4, {"vram_limit": 1500 * MB}, 4),
        (H100, 4, {"vram_limit": 1500 * MB, "submitters": 2}, 2),
        (H100, 4, {"batch_size": 3}, 3),
        (replace(GTX_1650, free=1450 * MB), 4, {}, 1),
    ],
)
def test_the_batch_fits_the_free_memory(memory: Memory | None, element: int, more: dict[str, Any], batch: int) -> None:
    settings = {**more}
    weights = settings.pop("weights", WEIGHTS)
    made = vram.plan_vram(memory, weights, SHAPE, element, SessionConfig(**settings))
    assert made.batch_size == batch
    if memory is not H100:
        assert made.arena + vram.CONTEXT <= 1500 * MB
    assert made.workspace == (memory is H100 and "vram_limit" not in more)


def test_no_room_for_one_picture() -> None:
    with pytest.raises(Unavailable, match=r"needs about 1,110 MB of VRAM and may take 800 MB: close what else"):
        vram.plan_vram(replace(GTX_1650, free=1000 * MB), WEIGHTS, SHAPE, 4, SessionConfig())
