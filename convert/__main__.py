"""`python -m convert` is `engine convert`."""

import sys

if __name__ == "__main__":
    try:
        from convert.cli import main

        sys.exit(main())
    except ModuleNotFoundError as missing:
        sys.exit(f"error: this needs {missing.name}: pip install 'deepdanbooru-engine[convert]'")
