"""`python -m bench` is `engine bench`."""

import sys

try:
    from bench.cli import main
except ModuleNotFoundError as missing:
    sys.exit(f"error: this needs {missing.name}: pip install 'deepdanbooru-engine[bench]'")

if __name__ == "__main__":
    sys.exit(main())
