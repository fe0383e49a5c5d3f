"""`python -m training` is `text-classifier-train`."""

import sys

from training.cli import main

sys.exit(main())
