"""What the embedded service raises on purpose."""


class ServiceError(Exception):
    """The service cannot do what was asked; `str(error)` is the whole sentence for the user."""
