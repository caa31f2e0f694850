"""Reads what Keras and DeepDanbooru wrote: a project folder comes in, its tags, its layers and their weights go out."""
