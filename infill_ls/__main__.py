"""`python -m infill_ls` is `infill-ls`."""

import sys

from infill_ls.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
