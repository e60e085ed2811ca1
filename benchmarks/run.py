"""Race our code against its peers: `make bench`, or `python -m benchmarks.run [--quick] [--only NAME]` from the root.

Ours and peer take turns in one process with one thread; the figures are medians. Time is the processor time of the
process (user and system), so that waiting for a busy machine does not count, though its crowded caches do. Memory is
the kernel's own peak of resident memory (VmHWM) above what was resident before the call, with the allocator's free
memory returned first. It counts the buffers of every library, where a profiler of tensors sees only PyTorch's, and it
misses no short peak, as sampling would. Linux only; elsewhere the two memory fields are null.
"""

import argparse
import ctypes
import gc
import importlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import torch

from benchmarks.contenders import Contenders

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("lsq_geometry", "lsq_photometry", "uv_sampling", "rasterise")
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def milliseconds(work: Callable[[], object]) -> float:
    """Processor time of one call, all threads together."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


def _resident(field: str) -> float:
    """A field of /proc/self/status ("VmRSS", "VmHWM") in MB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def peak_megabytes(work: Callable[[], object]) -> float | None:
    """Resident memory that one call needs at its peak, beyond what is resident before it."""
    if not CLEAR_REFS.exists():
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed earlier would hide what is needed now
    CLEAR_REFS.write_text("5")  # resets VmHWM to the present
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def race(contenders: Contenders, seconds: float) -> dict[str, float | str | None]:
    """Alternate ours and peer for about `seconds` after one call each to warm up; medians."""
    contenders.ours(), contenders.peer()
    ours, peer = [], []
    stop = time.perf_counter() + seconds
    while not ours or time.perf_counter() < stop:
        ours.append(milliseconds(contenders.ours))
        peer.append(milliseconds(contenders.peer))
    ours_ms, peer_ms = statistics.median(ours), statistics.median(peer)
    return {
        "ours_ms": ours_ms,
        "peer_ms": peer_ms,
        "ratio": peer_ms / ours_ms,
        "ours_mb": peak_megabytes(contenders.ours),
        "peer_mb": peak_megabytes(contenders.peer),
        "peer": contenders.peer_name,
    }


def table(results: dict[str, dict]) -> str:
    """The results as aligned text."""

    def cell(x: float | None) -> str:
        return "–" if x is None else f"{x:.1f}" if x < 100 else f"{x:.0f}"

    rows = [("", "ours ms", "peer ms", "faster", "ours MB", "peer MB", "peer")]
    for name, result in results.items():
        numbers = (cell(result[key]) for key in ("ours_ms", "peer_ms", "ratio", "ours_mb", "peer_mb"))
        rows.append((name, *numbers, result["peer"]))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 6)), row[6]]) for row in rows
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round each instead of about twenty seconds")
    parser.add_argument("--only", choices=NAMES, action="append", help="run this benchmark only (repeatable)")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "bench.json", help="where to write the figures")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    numba.set_num_threads(1)
    sys.path.append(str(ROOT / "tests"))  # the readable twins of the tests are the peers
    results = {}
    for name in options.only or NAMES:
        print(f"racing {name} …", file=sys.stderr, flush=True)
        contenders = importlib.import_module(f"benchmarks.{name}").contenders()
        results[name] = race(contenders, seconds=0 if options.quick else 20)
        del contenders
    print(table(results))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
