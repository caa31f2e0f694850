"""What the dictionary raises on purpose; each text is the whole sentence for the user."""


class DictionaryError(Exception):
    """The dictionary cannot do what was asked."""


class UnknownError(DictionaryError):
    """There is no such concept, group or journal entry."""


class ConflictError(DictionaryError):
    """Somebody changed the concept since it was read, or what is asked contradicts what is there."""
