"""The engine: tags the media of a catalogue and sends the tags where they belong. `pipeline.py` shows all of it."""
