"""Compares a model folder with the original: pictures come in, verdicts for the manifest and a report go out."""
