"""Set up what a target of the Makefile needs: `python3 -IS tools/prepare.py TARGET [WORDS]`.

First of all the stop signals are blocked, with what needs no import that Ctrl-C could cut short;
tools/setup.py and tools/child.py have the rest.
"""

import _signal  # type: ignore[import-not-found]  # what signal is made of

_signal.pthread_sigmask(
    _signal.SIG_BLOCK, {_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGCHLD}
)

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120

from tools import setup

if __name__ == "__main__":
    setup.main(*sys.argv[1:])
