"""A DeepDanbooru project folder (a Keras model and its tags) comes in, a model folder for the engine goes out.

TensorFlow is not needed. `conversion.py` shows the whole way on one page.
"""
