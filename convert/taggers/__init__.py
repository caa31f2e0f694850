"""Taggers that are ONNX files already: the WD family as it is published, and any other that is described by flags."""
