"""`python -m segue`."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]  # the working directory: a folder that an editor has opened

from segue.startup.compose import main

if __name__ == "__main__":
    main()
