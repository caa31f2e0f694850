"""ONNX Runtime in the original's loop: one picture at a time, one POST for each tag. What the engine's flow adds to it.

python -m bench.one_by_one MODEL --api URL --storage FOLDER --threshold 0.5
"""

import json
from pathlib import Path

import numpy as np

from bench.script import Tags, options, tag_all
from engine.families.selection import records
from engine.model.folder import open_model
from engine.model.open import SessionConfig, open_session
from engine.pictures.decode import decode
from engine.pictures.fit import fit


def main() -> None:
    """Tag the catalogue."""
    given = options(__doc__.split("\n")[0], "model")
    model = open_model(given.model)
    shape = model.preprocessing
    session = open_session(model, model.precision(None), SessionConfig(device=given.device, batch_size=1))
    session.run(np.zeros((1, shape.height, shape.width, 3), np.uint8))

    def evaluate(path: Path) -> Tags:
        row = fit(decode(path.read_bytes(), path.name), shape.height, shape.width)
        return records(session.run(row[None])[0], model.tags, given.threshold)

    tag_all(given, evaluate)
    print(json.dumps({"device": session.device}))


if __name__ == "__main__":
    main()
