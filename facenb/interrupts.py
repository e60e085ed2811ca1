"""Ctrl-C, kept for a good moment: not while libraries load, not in the middle of a training step."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Keep Ctrl-C for the end: libraries that are stopped halfway through being imported fail in their own words."""
    with stop_signals(signal.SIGINT) as pressed:
        yield
    if pressed():
        raise KeyboardInterrupt


@contextmanager
def stop_signals(*signals: signal.Signals) -> Iterator[Callable[[], bool]]:
    """While the block runs the `signals` (default: SIGINT and SIGTERM) stop nothing; the function says if one came.

    The second one is obeyed as usual, in case the block hangs.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield came.is_set
        return
    usual = {}

    def note(number: int, _: object) -> None:
        came.set()
        signal.signal(number, usual[number])

    for number in signals or (signal.SIGINT, signal.SIGTERM):
        usual[number] = signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
