"""Race our code against its peers: `make bench`, or `python -m benchmarks.run [--quick] [--only NAME]` from the root.

Ours and peer take turns in one process with one thread; the figures are medians (with `--quick`, of a single round,
in which a call of more than two seconds is its own warm-up). Time is the processor time of the
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
NAMES = ("lsq_geometry", "lsq_photometry", "uv_sampling", "rasterise", "depth_warp", "train_step")
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
    """Resident memory that one call needs at its peak, beyond what is resident before it; None if not on Linux."""
    if not CLEAR_REFS.exists():
        work()
        return None
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed earlier would hide what is needed now
    CLEAR_REFS.write_text("5")  # resets VmHWM to the present
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def once(work: Callable[[], object]) -> tuple[float, float | None]:
    """Milliseconds and megabytes of a call, of a second one where the first was short; very short ones: a median."""
    times: list[float] = []

    def timed() -> None:
        times.append(milliseconds(work))

    peak = peak_megabytes(timed)
    if times[0] < 2000:
        peak = peak_megabytes(timed)
    if times[-1] < 50:
        return statistics.median(milliseconds(work) for _ in range(21)), peak
    return times[-1], peak


def race(contenders: Contenders, seconds: float) -> dict[str, float | str | None]:
    """Alternate ours and peer for about `seconds` after one call each to warm up; medians. 0 seconds: one round."""
    if not seconds:
        (ours_ms, ours_mb), (peer_ms, peer_mb) = once(contenders.ours), once(contenders.peer)
        return _figures(contenders.peer_name, ours_ms, peer_ms, ours_mb, peer_mb)
    contenders.ours(), contenders.peer()
    ours, peer = [], []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        ours.append(milliseconds(contenders.ours))
        peer.append(milliseconds(contenders.peer))
    memory = peak_megabytes(contenders.ours), peak_megabytes(contenders.peer)
    return _figures(contenders.peer_name, statistics.median(ours), statistics.median(peer), *memory)


def _figures(
    peer_name: str, ours_ms: float, peer_ms: float, ours_mb: float | None, peer_mb: float | None
) -> dict[str, float | str | None]:
    """One entry of bench.json."""
    ratio = peer_ms / ours_ms
    return {
        "ours_ms": ours_ms,
        "peer_ms": peer_ms,
        "ratio": ratio,
        "ours_mb": ours_mb,
        "peer_mb": peer_mb,
        "peer": peer_name,
    }


def table(results: dict[str, dict]) -> str:
    """The results as aligned text, and below it who the peers are."""

    def cell(x: float | None) -> str:
        return "–" if x is None else f"{x:.1f}" if x < 100 else f"{x:.0f}"

    rows = [("", "ours ms", "peer ms", "faster", "ours MB", "peer MB")]
    for name, result in results.items():
        numbers = (cell(result[key]) for key in ("ours_ms", "peer_ms", "ratio", "ours_mb", "peer_mb"))
        rows.append((name, *numbers))
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    lines = ["  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in range(1, 6))]) for row in rows]
    peers = [f"{name.ljust(widths[0])}  against {result['peer']}" for name, result in results.items()]
    return "\n".join([*lines, "", *peers])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round each instead of about twenty seconds")
    parser.add_argument("--only", choices=NAMES, action="append", help="run this benchmark only (repeatable)")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "bench.json", help="where to write the figures")
    options = parser.parse_args(arguments)

    numba.set_num_threads(1)
    torch.set_num_threads(1)  # after numba, which starts its threads now and sets OpenMP's number for both
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
