"""The command `transient`: the same as the native one."""

from __future__ import annotations

import signal
import sys

from ._transient import run_command


def main() -> int:
    """Run the command line of this process, and return its exit status."""
    # Python's handler only takes note, for code that is not run before the command is over.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command(["transient", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
