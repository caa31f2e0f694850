"""The product's promise: `engine tag` gives the tags that the original's way gives, picture by picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from convert.cli import main as convert
from demo.render import render
from engine.cli.tag import pictures as pictures_below
from tests.support.runs import ENGINE, run

PROJECT = Path(__file__).parents[3] / "demo" / "model"
MARGIN = 0.002


def original_scores(files: list[str]) -> dict[str, np.ndarray]:
    """`deepdanbooru evaluate`'s way: its own loading and preprocessing, Keras `predict`, one picture at a time."""
    import tensorflow as tf
    from skimage import transform
    from tf_keras.models import load_model

    model = load_model(next(PROJECT.glob("*.h5")), compile=False)
    height, width = model.input_shape[1:3]
    scores = {}
    for file in files:
        raw = tf.io.read_file(file)
        image = tf.io.decode_image(raw, channels=3, expand_animations=False) if not file.endswith(".webp") else None
        if image is None:  # the original reads no WebP
            continue
        image = tf.image.resize(image, (height, width), tf.image.ResizeMethod.AREA, preserve_aspect_ratio=True).numpy()
        to_origin = transform.AffineTransform(translation=(-image.shape[1] * 0.5, -image.shape[0] * 0.5))
        to_middle = transform.AffineTransform(translation=(width * 0.5, height * 0.5))
        moved = transform.warp(
            image, (to_origin + to_middle).inverse, output_shape=(height, width), order=1, mode="edge"
        )
        scores[file] = model.predict((moved / 255.0)[None], verbose=0)[0]
    return scores


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_same_tags_as_the_originals_way(tmp_path) -> None:
    render(tmp_path / "pictures", 120, seed=4711)
    assert convert([str(PROJECT), str(tmp_path / "model")]) == 0
    result = run([*ENGINE, "tag", "--model", str(tmp_path / "model"), "--json", str(tmp_path / "pictures")])
    assert result.returncode == 0, result.stderr
    given = {}
    for line in result.stdout.splitlines():
        entry = json.loads(line)
        given[entry["path"]] = {tag["tag"]: tag["score"] for tag in entry["tags"]}
    tags = (PROJECT / "tags.txt").read_text(encoding="utf-8").split()
    originals = original_scores(list(pictures_below([tmp_path / "pictures"])))
    assert len(originals) > 90
    differing = {}
    for file, scores in originals.items():
        wanted = {tag: float(score) for tag, score in zip(tags, scores, strict=True)}
        for tag, score in wanted.items():
            if (score >= 0.5) != (tag in given[file]) and abs(score - 0.5) > MARGIN:
                differing[file, tag] = score
            elif tag in given[file]:
                assert abs(given[file][tag] - score) < 0.02
    assert differing == {}
