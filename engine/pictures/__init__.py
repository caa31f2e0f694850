"""Pictures: the bytes of a file become RGB pixels, and these fit into a row of the batch."""

import os

# OpenCV reads its limit once, when it is imported. What counts is the limit of `decode`; this one stands behind it,
# where TensorFlow has its own: no picture of more than 2^29 pixels.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 29))
