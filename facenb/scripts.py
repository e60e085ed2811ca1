"""What the programmes `python -m facenb.…` share: bad input gets one line and exit code 2, as in `facenb` itself."""

from __future__ import annotations

import sys
from collections.abc import Callable


def answered(name: str, work: Callable[[], None]) -> int:
    """Does the work; returns the exit code."""
    try:
        work()
    except (ValueError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 130
    return 0
