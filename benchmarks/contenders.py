"""What a benchmark file hands to `benchmarks/run.py`: two callables that do the same work."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Contenders:
    """One race. Each benchmark module has a function `contenders() -> Contenders` that builds the inputs.

    Each callable does the work once, from the same inputs, and returns nothing that is needed. Whatever is made once
    and kept (tables, compiled code) belongs outside of it.
    """

    ours: Callable[[], object]
    peer: Callable[[], object]
    peer_name: str  # what the peer is, for the table
