"""The settings of a run, each declared once: a flag, an `ENGINE_*` variable and a key of engine.toml at the same time.

Defaults carry their reason. The model is frozen; nothing here reads the environment (engine/cli does).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from engine.thresholds import normal

DeviceName = Literal["cuda", "tensorrt", "directml", "coreml", "openvino", "openvino-gpu", "openvino-npu", "cpu"]
"""The devices that a model can run on. `auto` tries them in this order, and leaves out those that must be asked for.

This table is the only one: each name is a module in engine/model/devices, with `_` for `-`, and a value of --device.
"""
MB = 10**6
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_size(text: str | int) -> int:
    """Bytes (or pixels) from `1500000`, `1.5G`, `800M`, `2GB`; raises `ValueError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)i?b?\s*", str(text).lower())
    if not match:
        raise ValueError(f"{text!r} is no size: write for example 800M or 1.5G")
    return int(float(match[1]) * UNITS[match[2]])


def parse_range(text: str | int) -> tuple[int, int]:
    """The least and the most from `4` or `2,8`; raises `ValueError`."""
    match = re.fullmatch(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?", str(text))
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= least <= most:
        raise ValueError(f"{text!r} is no number of sessions: write for example 4, or 2,8 for the least and the most")
    return least, most


def _range(text: str | int) -> str:
    return ",".join(map(str, parse_range(text)))


Range = Annotated[str, BeforeValidator(_range)]
Size = Annotated[int, BeforeValidator(parse_size)]
Threshold = Annotated[str, BeforeValidator(normal)]


class RunConfig(BaseModel):
    """Everything `engine run` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # What to tag, with what, and where the tags go.
    model: Path | None = Field(None, description="The model folder that `engine convert` wrote.")
    segment_url: str | None = Field(None, description="The API's address for segments of media.")
    recognition_url: str | None = Field(None, description="The API's address for one tag a call.")
    recognition_bulk_url: str | None = Field(None, description="The API's address for tags in bulk; used when given.")
    recognition_replace_url: str | None = Field(
        None, description="The API's address that replaces a medium's tags; used when given."
    )
    storage: str | None = Field(
        None, description=r"The root of the media files: a folder, \\NAS\share\bucket, s3://bucket, https://host/path."
    )
    library: Path | None = Field(None, description="A folder of pictures: brings the embedded media service along.")
    db: Path | None = Field(None, description="The database of --library. Default: the user's data folder.")
    state: Path | None = Field(None, description="The ledger, on a local disk. Default: the user's data folder.")
    segment_start: int = Field(0, ge=0, description="The first media id to take: where the original script stopped.")
    threshold: Threshold | None = Field(None, description="Least score of tags: 0.4,character=0.7. Default: as before.")
    threshold_file: Path | None = Field(None, description="Least scores of single tags: CSV, tag,threshold.")
    limit: int | None = Field(None, ge=1, description="Stop after so many media.")
    dry_run: bool = Field(False, description="Tag, but post nothing and keep no state.")
    retry_failed: bool = Field(False, description="Try media again that failed or were rejected before.")
    moved: bool = Field(False, description="The media API has a new address: take it into the ledger.")
    follow: float | None = Field(None, gt=0, description="Keep running: look for new media every so many seconds.")

    # The API.
    token_file: Path | None = Field(None, description="A file with the API token (else ENGINE_API_TOKEN).")
    ca_file: Path | None = Field(
        None, description="Certificates to trust, for an API or a storage with a CA of its own."
    )
    segment_size: int = Field(100, ge=1, le=10_000, description="Media a segment, as the original asked for.")
    connections: int = Field(4, ge=1, le=64, description="Requests under way at once; old services dislike more.")
    timeout: float = Field(60.0, gt=0, description="Seconds after which a request has no answer.")
    chunk_records: int | None = Field(
        None, ge=1, description="Records a bulk request at most. Default: the contract's 500; with --library 5,000."
    )
    chunk_bytes: Size = Field(256 * 1024, description="Bytes a bulk request at most: the contract's limit.")
    ok_codes: tuple[str, ...] = Field(("0", "200"), description="Values of `code` in an answer that mean yes.")
    give_up_after: float | None = Field(
        None, gt=0, description="End after so many seconds without the API. Default: never."
    )
    outbox_limit: int = Field(
        50_000, ge=1, description="Media that may wait for the API before tagging waits too: some 50 MB of state."
    )

    # The flow. Reads wait for the network, so there are more of them than cores.
    read_threads: int | None = Field(
        None, ge=1, le=256, description="Files read at once. Default: as many as pay, by itself."
    )
    decode_threads: int | None = Field(
        None, ge=1, le=256, description="Threads that decode and fit. Default: the cores."
    )
    read_ahead: Size = Field(256 * MB, description="Bytes of files that are read or wait to be decoded, at most.")
    read_timeout: float = Field(120.0, gt=0, description="Seconds without progress after which a read is given up.")
    max_file_size: Size = Field(256 * MB, description="Larger files fail unread.")
    max_pixels: Size = Field(100 * MB, description="Larger pictures fail undecoded: 300 MB of RGB at the default.")
    max_failures: str | None = Field(
        "50%", pattern=r"^\d+(\.\d+)?%?$", description="Stop when more media fail: a count, or a share (20%)."
    )

    # The session.
    device: Literal["auto", DeviceName] = Field("auto", description="Where the model runs.")
    precision: Literal["fp32", "bf16", "fp16", "int8"] | None = Field(
        None, description="Which precision. Default fp32."
    )
    batch_size: int | None = Field(None, ge=1, le=1024, description="Pictures a batch. Default: by device and memory.")
    vram_limit: Size | None = Field(None, description="VRAM the session may take, for example 1.5G.")
    intra_op_threads: int | None = Field(None, ge=1, description="CPU threads of the model. Default: the cores.")
    submitters: int = Field(1, ge=1, le=4, description="Threads that feed the session; 2 only where a GPU is fast.")
    workspace: bool | None = Field(
        None, description="CUDA: let cuDNN take a large workspace. Default: where 4 GB are to be had."
    )

    keep_scores: float = Field(
        0.05, ge=0, le=1, description="Keep scores from here up, so that thresholds can change later; 0 keeps none."
    )
    vectors: bool = Field(True, description="Keep what finds similar pictures, if the model gives it.")

    # Several machines.
    ray: str | None = Field(None, description="Work on a Ray cluster: HOST:6379, auto or local.")
    ray_actors: Range | None = Field(
        None, description="Sessions in the cluster: 4, or 2,8 for least and most. Default: one a GPU, else one a node."
    )

    # What is shown.
    log_file: Path | None = Field(
        None, description="Write what is said into this file too; at 10 MB it is renamed to .1, five are kept."
    )
    json_output: bool = Field(False, description="End with one JSON object on stdout.")
    quiet: bool = Field(False, description="No progress.")
    verbose: bool = Field(False, description="Log what the API answers.")


GROUPS = {
    "model": "What to tag, with what, and where the tags go",
    "token_file": "The media API",
    "read_threads": "Reading and decoding",
    "device": "The model",
    "log_file": "What is shown",
}
"""The groups of `engine run --help`, in the order of the fields: each by the field that it begins with."""

RARE = {
    "moved", "ca_file", "segment_size", "connections", "timeout", "chunk_records", "chunk_bytes", "ok_codes",
    "outbox_limit", "read_ahead", "read_timeout", "max_file_size", "max_pixels", "intra_op_threads", "submitters",
    "workspace", "keep_scores", "vectors", "ray_actors",
}  # fmt: skip
"""Settings that few ever touch: the help of a command that takes all settings only names them."""


@dataclass(frozen=True)
class Waits:
    """How long the parts of a run wait, in seconds. Users need none of these; tests shorten them.

    Attributes:
        tick: how often the main thread looks up: for progress, and because Windows delivers Ctrl-C only to a thread
            that wakes.
        leave: how long an ending run waits for its stages, and then once more for its sinks: a thread stuck in a dead
            mount must not keep the user.
        second_chance: how long after the sweep a medium is read once more. An SMB client remembers a "not found" for
            some seconds.
        full_sweep: how often `--follow` lists the whole catalogue. Media become visible out of id order, when their
            download ends; behind the cursor only a full sweep finds them.
        partial_batch: how long a partial batch waits for the source, with nothing on its way: long against the
            hand-over between two threads, short against a batch on any device.
        slow_read: how long the rows of a partial batch wait for the next one, which is on its way.
        root_look: a look at the storage root serves all reads that fail within this time.
        root_away: how often a storage root that is away is looked for.
        storm: a storage that fails read after read is asked at most once in this time.
        storm_longest: after so long without any read that succeeds, the files are taken for broken.
        silence: how long a storage may answer nothing at all before it is asked whether it hangs as a whole; then it
            has 0.3 of this time to answer. Also how long a look at its root or at a file's state may take.
        memory: how long a picture for which memory was short waits before each further try.
    """

    tick: float = 0.25
    leave: float = 8.0
    second_chance: float = 5.0
    full_sweep: float = 3600.0
    partial_batch: float = 0.05
    slow_read: float = 2.0
    root_look: float = 0.5
    root_away: float = 5.0
    storm: float = 1.0
    storm_longest: float = 900.0
    silence: float = 10.0
    memory: tuple[float, ...] = (0.0, 1.0, 5.0, 20.0)


WAITS = Waits()
