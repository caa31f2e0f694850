"""Writes ONNX files: the layers and weights of an open Keras model come in, a file for each precision goes out."""
