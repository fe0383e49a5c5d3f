"""`python -m bulk` is `text-classifier-bulk`."""

import sys

from bulk.cli import main

if __name__ == "__main__":
    sys.exit(main())
