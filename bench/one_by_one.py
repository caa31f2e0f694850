"""ONNX Runtime in the original's loop: one picture at a time, one POST for each tag.

What the engine is faster than this, its pipeline has gained and not ONNX Runtime.

    python -m bench.one_by_one MODEL --api URL --storage FOLDER --threshold 0.5
"""

import json
from pathlib import Path

import numpy as np

from bench.original_loop import Tags, options, tag_all
from engine.api.messages import similarity
from engine.families import family_of
from engine.model.folder import open_model
from engine.model.open import open_session
from engine.model.session import SessionConfig
from engine.pictures.decode import MAX_PIXELS


def main() -> None:
    """Tag the catalogue."""
    given = options(__doc__.split("\n")[0], "model")
    model = open_model(given.model)
    shape, family = model.preprocessing, family_of(model.preprocessing)
    session = open_session(model, model.precision(None), SessionConfig(device=given.device, batch_size=1))
    row = np.zeros((1, shape.height, shape.width, 3), shape.dtype)
    session.run(row)

    select = family.selection(model.tags, model.categories, given.threshold)

    def evaluate(path: Path) -> Tags:
        family.fit(family.decode(path.read_bytes(), path.name, max_pixels=MAX_PIXELS), row[0])
        return [(tag, similarity(score)) for tag, score in select(session.run(row)[0])]

    tag_all(given, evaluate)
    print(json.dumps({"device": session.device}))


if __name__ == "__main__":
    main()
