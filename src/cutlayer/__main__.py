"""``python -m cutlayer`` is ``cutlayer``."""

import sys

from .cli import main

sys.exit(main())
