"""``python -m moored`` is the command ``moored``."""

import sys

from moored.cli import main

sys.exit(main())
