"""`python -m macaw.cli`: the command line, run by this interpreter and not by one on the PATH."""

import sys

from macaw.cli.entry import main

sys.exit(main())
