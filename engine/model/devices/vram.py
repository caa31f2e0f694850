"""Chooses the batch size from the free VRAM, the memory of an NVIDIA GPU, before the model is loaded.

The estimate is careful. If it is wrong all the same, a lack of memory halves the batch (engine/model/session.py).
Not measured on a GPU: the bytes of a picture are those of the full-size model's arena on the CPU.
"""

from dataclasses import dataclass

from engine.model.devices.device import Unavailable
from engine.model.devices.nvml import MB, Memory
from engine.model.session import SessionConfig
from engine.types import Preprocessing

CONTEXT = 400 * MB
"""Bytes of CUDA's context, kernels, cuDNN and cuBLAS: outside the arena, the same for every batch size."""
ACTIVATIONS = 44 * MB
"""Bytes of a 512x512 picture's activations in resnet_custom_v3 with fp32: the slope of the memory over the batch."""
SLACK = 1.5
"""Factor on the activations for fragments of the arena and for cuDNN's small workspace."""
SMALL_CARD, SMALL_BUDGET = 6000 * MB, 1500 * MB
"""A card with no more than SMALL_CARD bytes usually draws a desktop too, so the engine takes SMALL_BUDGET at most."""
SHARE = 0.8
"""The part of the free memory that may be taken: the estimate may be wrong, and other programs may want more."""
ROOMY = 4000 * MB
"""With a budget of so many bytes cuDNN may take a large workspace."""
LARGEST = 64
"""The largest batch that is chosen; it keeps any GPU busy."""


@dataclass(frozen=True, slots=True)
class VramPlan:
    """What a CUDA session may take.

    Attributes:
        batch_size: pictures a batch.
        arena: bytes of ONNX Runtime's arena at most (`gpu_mem_limit`): the budget without the context.
        workspace: whether cuDNN may take as large a workspace as it likes.
    """

    batch_size: int
    arena: int
    workspace: bool


def plan_vram(
    memory: Memory | None, weights: int, shape: Preprocessing, element: int, config: SessionConfig
) -> VramPlan:
    """The asked batch size, or else the largest power of two that fits the budget.

    The budget is `vram_limit`, but not more than is free, or else a careful part of what is free. A `memory` of None
    (not known) is taken for a small card. `weights`: bytes of the model file; `element`: bytes of a number (4: fp32, 2:
    fp16). Raises `Unavailable` when not even one picture fits.
    """
    budget = _budget(memory, config.vram_limit)
    picture = int(ACTIVATIONS * SLACK * element / 4 * shape.height * shape.width / 512**2) * config.submitters
    left = budget - CONTEXT - weights
    if left < picture:
        raise Unavailable(
            f"the model needs about {(CONTEXT + weights + picture) / MB:,.0f} MB of VRAM and may take "
            f"{budget / MB:,.0f} MB",
            "close what else uses the GPU, raise --vram-limit, or use --device cpu",
        )
    fitting = min(LARGEST, 2 ** ((left // picture).bit_length() - 1))
    workspace = budget >= ROOMY if config.workspace is None else config.workspace
    return VramPlan(config.batch_size or fitting, budget - CONTEXT, workspace)


def _budget(memory: Memory | None, limit: int | None) -> int:
    """Bytes that the session may take. A `limit` that was set replaces the careful defaults."""
    if limit is not None:
        return limit if memory is None else min(limit, memory.free)
    if memory is None:
        return SMALL_BUDGET
    free = int(memory.free * SHARE)
    return min(free, SMALL_BUDGET) if memory.total <= SMALL_CARD else free
