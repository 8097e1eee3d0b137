"""`python -m segtrust`: the same as the command `segtrust`."""

import sys

from segtrust.cli import main

if __name__ == "__main__":
    sys.exit(main())
