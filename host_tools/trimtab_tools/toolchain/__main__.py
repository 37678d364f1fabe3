"""`python -m trimtab_tools.toolchain BOARD` builds what a board needs."""

import sys

from .builds import main

sys.exit(main())
