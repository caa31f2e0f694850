"""Which certificates are trusted: one answer for the media API and the storage."""

import ssl
from pathlib import Path

import certifi

from engine.errors import ConfigError


def trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts Mozilla's certificates, those of the system (a company's own), and those of `ca_file` (PEM).

    Raises:
        ConfigError: `ca_file` cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the certificate file {ca_file} cannot be used: {error.strerror or error}") from None
    return context
