"""Pictures: the bytes of a file become RGB pixels, and these fit into a row of the batch."""
