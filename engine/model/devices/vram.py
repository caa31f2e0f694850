"""How much VRAM a session takes, and so how large a batch may be: decided before the first run, from what is free.

An estimate, made on the safe side; if it is wrong, running out of memory halves the batch (engine/session.py).
Not measured on a GPU: the bytes of a picture are those of the full-size model's arena on the CPU.
"""

from dataclasses import dataclass

from engine.model.devices.nvml import MB, Memory
from engine.model.distribution import Unavailable
from engine.types import Preprocessing

CONTEXT = 400 * MB
"""CUDA's context, kernels, cuDNN and cuBLAS: outside the arena, whatever the batch."""
ACTIVATIONS = 44 * MB
"""One 512x512 picture in fp32: resnet_custom_v3's living tensors, from the slope of the memory over the batch."""
SLACK = 1.5
"""Fragments of the arena and cuDNN's clamped workspace."""
SMALL_CARD, SMALL_BUDGET = 6000 * MB, 1500 * MB
"""A card with so little memory usually draws a desktop too: the engine takes no more than this unless told."""
SHARE = 0.8
"""Of what is free: the estimate and the other programs on the card may both be wrong."""
ROOMY = 4000 * MB
"""From here on cuDNN may take a large workspace."""
LARGEST = 64
"""Larger batches gain nothing on any card: the GPU is full long before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a CUDA session may take.

    Attributes:
        batch_size: pictures a batch.
        arena: bytes of ONNX Runtime's arena at most (`gpu_mem_limit`): the budget without the context.
        workspace: whether cuDNN may take what it likes.
    """

    batch_size: int
    arena: int
    workspace: bool


def plan(
    memory: Memory | None, weights: int, shape: Preprocessing, element: int, limit: int | None,
    batch_size: int | None, workspace: bool | None, submitters: int = 1,
) -> Plan:  # fmt: skip
    """The largest power of two that fits the budget: `limit`, or what is free on the card (bytes).

    `weights`: the model file's bytes; `element`: bytes of an activation (4: fp32, 2: fp16). `memory` None: a small
    card is assumed. Raises `Unavailable` when not even one picture fits.
    """
    budget = _budget(memory, limit)
    picture = int(ACTIVATIONS * SLACK * element / 4 * shape.height * shape.width / 512**2) * submitters
    room = budget - CONTEXT - weights
    if room < picture:
        raise Unavailable(
            f"the model needs about {(CONTEXT + weights + picture) / MB:,.0f} MB of VRAM and may take "
            f"{budget / MB:,.0f} MB",
            "close what else uses the GPU, raise --vram-limit, or use --device cpu",
        )
    fitting = min(LARGEST, 2 ** ((room // picture).bit_length() - 1))
    large = budget >= ROOMY if workspace is None else workspace
    return Plan(batch_size or fitting, budget - CONTEXT, large)


def _budget(memory: Memory | None, limit: int | None) -> int:
    if limit is not None:
        return limit if memory is None else min(limit, memory.free)
    if memory is None:
        return SMALL_BUDGET
    free = int(memory.free * SHARE)
    return min(free, SMALL_BUDGET) if memory.total <= SMALL_CARD else free
