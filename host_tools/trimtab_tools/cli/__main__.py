"""`python -m trimtab_tools.cli` is the command `trimtab`."""

import sys

from . import main

sys.exit(main())
