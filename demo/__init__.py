"""The demo: a renderer of pictures with known tags, a small model trained on them, and a score.

scene.py    what is in a picture, and the tags that follow from it
paint.py    a scene -> pixels (background.py and figure.py draw its parts with the shapes of canvas.py)
render.py   a seed -> a folder of picture files in many formats, shapes and names, and their true tags
train.py    rendered pictures -> model/, a DeepDanbooru project folder (needs the extra `keras`)
score.py    micro-F1 of given tags against the true ones
"""
