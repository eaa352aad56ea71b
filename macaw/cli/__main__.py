"""`python -m macaw.cli`: the command line by the interpreter that runs, whatever is on the PATH."""

import sys

from macaw.cli.entry import main

sys.exit(main())
