"""Turns a Keras project folder of DeepDanbooru into a model folder, without TensorFlow."""
