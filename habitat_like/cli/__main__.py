"""Lets ``python -m habitat_like.cli`` be the ``habitat`` command."""

import sys

from habitat_like.cli import main

if __name__ == "__main__":
    sys.exit(main())
