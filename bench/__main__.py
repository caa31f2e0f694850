"""`python -m bench` is `engine bench`."""

import sys

if __name__ == "__main__":
    try:
        from bench.cli import main

        sys.exit(main())
    except ModuleNotFoundError as missing:
        sys.exit(f"error: this needs {missing.name}: pip install 'deepdanbooru-engine[bench]'")
