"""How people tag today, each a loop of its own: what the engine is compared with, beside the original.

    python -m bench.others single FOLDER --api URL --storage PICTURES
    python -m bench.others batches FOLDER ...
    python -m bench.others imgutils FOLDER ...
    python -m bench.others deepdanbooru-onnx FOLDER ...

FOLDER holds model.onnx with selected_tags.csv, as the WD family is published, or with tags.txt.

- single: the loop of the family's own demo page (SmilingWolf's space wd-tagger): Pillow, NumPy, a picture at a time.
- batches: after kohya's tag_images_by_wd14_tagger with --max_data_loader_n_workers: pictures are loaded ahead and run
  in batches. Threads load, where that script has torch's processes; torch itself is left out.
- imgutils: `get_wd14_tags` of dghs-imgutils. It takes no local file, so what it downloads is looked for in FOLDER.
- deepdanbooru-onnx: `DeepDanbooru` of the package of that name, which takes local files, of 512 x 512 pixels.

All of them post a picture's tags, or a batch's, in one request. Nothing of the engine is imported for the last two, so
that an interpreter of their own can run them.
"""

import csv
import json
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.original_loop import Tags, options, tag_in_bulk

GENERAL, CHARACTER = 0.35, 0.85
BATCH, WORKERS = 8, 2
"""What people who use the script set; 2 workers are its documentation's own example."""
Scores = npt.NDArray[np.float32]
Evaluate = Callable[[Iterator[Path]], Iterable[list[Tags]]]


class Published:
    """`model.onnx` and `selected_tags.csv`, run by ONNX Runtime with its defaults."""

    def __init__(self, given: Namespace) -> None:
        import onnxruntime

        providers = _providers(given.device, onnxruntime.get_available_providers())
        self.session: Any = onnxruntime.InferenceSession(given.folder / "model.onnx", providers=providers)
        _, self.height, self.width, _ = self.session.get_inputs()[0].shape
        with (given.folder / "selected_tags.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self._names = [("rating:" if row["category"] == "9" else "") + row["name"] for row in rows]
        category = np.array([int(row["category"]) for row in rows])
        least = {0: given.threshold or GENERAL, 4: given.threshold or CHARACTER}
        self._least = np.array([least.get(number, np.inf) for number in category.tolist()], np.float32)
        self._ratings = np.flatnonzero(category == 9)

    def run(self, batch: Scores) -> Scores:
        """Scores [n, tags] of float32 [n, height, width, 3]."""
        name = self.session.get_inputs()[0].name
        return np.asarray(self.session.run(None, {name: batch})[0])

    def tags(self, scores: Scores) -> Tags:
        """Those of one picture that count: the best rating, and the others by threshold."""
        best = self._ratings[scores[self._ratings].argmax()]
        found = sorted({int(best), *np.flatnonzero(scores >= self._least).tolist()})
        return [(self._names[i], _similarity(scores[i])) for i in found]

    @property
    def device(self) -> str:
        return "cuda" if "CUDA" in self.session.get_providers()[0] else "cpu"


def single(given: Namespace) -> tuple[Evaluate, str]:
    from convert.taggers.original import prepared
    from engine.families import FAMILIES

    model = Published(given)

    def evaluate(pictures: Iterator[Path]) -> Iterator[list[Tags]]:
        for path in pictures:
            pixels = prepared(path.read_bytes(), FAMILIES["wd"], (model.height, model.width))
            yield [model.tags(model.run(pixels)[0])]

    return evaluate, model.device


def batches(given: Namespace) -> tuple[Evaluate, str]:
    model = Published(given)

    def evaluate(pictures: Iterator[Path]) -> Iterator[list[Tags]]:
        with ThreadPoolExecutor(WORKERS) as pool:
            ahead: deque[Future[Scores]] = deque()
            batch: list[Scores] = []
            for path in pictures:
                ahead.append(pool.submit(_prepared_by_kohya, path, model.height))
                if len(ahead) > 2 * WORKERS * BATCH:  # torch's loader is two batches ahead with each worker
                    batch.append(ahead.popleft().result())
                if len(batch) == BATCH:
                    yield [model.tags(scores) for scores in model.run(np.array(batch))]
                    batch.clear()
            rest = [*batch, *(future.result() for future in ahead)]
            for at in range(0, len(rest), BATCH):
                yield [model.tags(scores) for scores in model.run(np.array(rest[at : at + BATCH]))]

    return evaluate, model.device


def _prepared_by_kohya(path: Path, side: int) -> Scores:
    """float32 [side, side, 3], BGR: alpha dropped, padded white, by OpenCV's area filter or enlarged by Lanczos."""
    import cv2
    from PIL import Image

    with Image.open(path) as opened:
        pixels: npt.NDArray[Any] = np.array(opened.convert("RGB"))[:, :, ::-1]
    size = max(pixels.shape[:2])
    wide, tall = size - pixels.shape[1], size - pixels.shape[0]
    around = ((tall // 2, tall - tall // 2), (wide // 2, wide - wide // 2), (0, 0))
    pixels = np.pad(pixels, around, mode="constant", constant_values=255)
    if size > side:
        pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    else:
        enlarged = Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), Image.Resampling.LANCZOS)
        pixels = np.asarray(enlarged)
    return pixels.astype(np.float32)


def imgutils(given: Namespace) -> tuple[Evaluate, str]:
    import onnxruntime
    from imgutils.tagging import wd14

    # Its model has the embedding as second output: FOLDER's file was given one (see bench.published).
    wd14.hf_hub_download = lambda repo_id, filename: str(given.folder / Path(filename).name)
    least = {"general_threshold": given.threshold or GENERAL, "character_threshold": given.threshold or CHARACTER}

    def evaluate(pictures: Iterator[Path]) -> Iterator[list[Tags]]:
        for path in pictures:
            rating, general, character = wd14.get_wd14_tags(str(path), **least)
            found = {f"rating:{max(rating, key=rating.get)}": max(rating.values())} | general | character
            yield [[(tag, _similarity(score)) for tag, score in found.items()]]

    return evaluate, "cuda" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"


def deepdanbooru_onnx(given: Namespace) -> tuple[Evaluate, str]:
    from deepdanbooru_onnx import DeepDanbooru

    files = {"model_path": str(given.folder / "model.onnx"), "tags_path": str(given.folder / "tags.txt")}
    mode = {"cuda": "gpu"}.get(given.device, given.device)
    model = DeepDanbooru(mode=mode, threshold=0.5 if given.threshold is None else given.threshold, **files)

    def evaluate(pictures: Iterator[Path]) -> Iterator[list[Tags]]:
        for path in pictures:
            yield [[(tag, _similarity(score)) for tag, score in model(str(path)).items()]]

    return evaluate, "cuda" if "CUDA" in model.session.get_providers()[0] else "cpu"


def _providers(device: str, there: Sequence[str]) -> list[str]:
    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    return [name for name in wanted if name in there]


def _similarity(score: float) -> str:
    return f"{score:05.3f}"


WAYS = {"single": single, "batches": batches, "imgutils": imgutils, "deepdanbooru-onnx": deepdanbooru_onnx}


def main() -> None:
    """Tag the catalogue."""
    given = options(__doc__.split("\n")[0], "way", "folder", threshold=None)
    evaluate, device = WAYS[given.way](given)
    tag_in_bulk(given, evaluate)
    print(json.dumps({"device": device}))


if __name__ == "__main__":
    main()
