"""`python -m service` is `text-classifier-server`."""

import sys

from service.cli import main

sys.exit(main())
