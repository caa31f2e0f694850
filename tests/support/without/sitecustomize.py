"""With this folder on a process's PYTHONPATH, the packages that WITHOUT names are not installed."""

import os
import sys

for package in os.environ.get("WITHOUT", "").split():
    sys.modules[package] = None  # type: ignore[assignment]
