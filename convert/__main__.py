"""`python -m convert` is `engine convert`."""

import sys

try:
    from convert.cli import main
except ModuleNotFoundError as missing:
    sys.exit(f"error: this needs {missing.name}: pip install 'deepdanbooru-engine[convert]'")

if __name__ == "__main__":
    sys.exit(main())
