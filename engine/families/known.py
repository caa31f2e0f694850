"""The families that this version knows. A new one is one more value here, named by the manifest (`preprocessing.kind`).

Whatever it needs that no family needed before is a new value of a trait, and the place that acts on it.
"""

from collections.abc import Mapping

from engine.families.traits import Traits
from engine.thresholds import ALL, BEST, Rule

FAMILIES: Mapping[str, Traits] = {
    "deepdanbooru": Traits(
        reference="KichangKim/DeepDanbooru: load_image_for_evaluate and transform_and_pad_image, on TensorFlow",
        alpha="dropped",
        upright=False,
        first="resize",
        pad="edge",
        interpolation="area",
        dtype="uint16",
        rules={ALL: Rule(least=0.5)},
        layout="nhwc",
        colour="rgb",
        range="1",
    ),
    "wd": Traits(
        reference="SmilingWolf's space wd-tagger: prepare_image and predict, on Pillow and ONNX Runtime",
        alpha="white",
        upright=True,
        first="pad",
        pad="white",
        interpolation="bicubic",
        dtype="uint8",
        rules={ALL: Rule(least=0.35), "character": Rule(least=0.85), "rating": BEST},
        layout="nhwc",
        colour="bgr",
        range="255",
        files=("model.onnx", "selected_tags.csv"),
    ),
    # Any other ONNX tagger, as `engine convert` was told: the manifest says what is different.
    "onnx": Traits(
        reference="the ONNX file that was converted, fed by Pillow and NumPy as the manifest says",
        alpha="white",
        upright=True,
        first="pad",
        pad="none",
        interpolation="bicubic",
        dtype="uint8",
        rules={ALL: Rule(least=0.5), "rating": BEST},
        layout="nchw",
        colour="rgb",
        range="1",
    ),
}
