"""`python -m bulk` is `text-classifier-bulk`."""

import sys

from bulk.cli import main

sys.exit(main())
