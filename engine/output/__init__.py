"""Tags as people want them written: which of them, in which words, as a line, beside a picture or in it."""
