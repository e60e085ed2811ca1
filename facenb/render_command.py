"""What `facenb render` does: snapshots made by several processes, written shard by shard."""

from __future__ import annotations

import io
import os
import signal
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from facenb.heads import head_model
from facenb.interrupts import stop_signals
from facenb.shards import Description, images_path, member_name, start_dataset, truth_path, write_shard
from facenb.snapshots import BLOCK, GENERATOR, SnapshotTruth, render_snapshots
from facenb.snapshots.pose import Framing

BATCH = 3 * BLOCK  # pictures that a process is asked for at a time
LARGE = 4096  # bytes; deflate takes longer to begin than it could save on smaller arrays
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

Encoded = tuple[bytes, bytes | None]  # PNG, npz


def render_dataset(
    out: Path,
    count: int,
    size: int,
    framing: Framing,
    seed: int,
    shard_size: int = 1000,
    truth: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Render snapshots 0 … count − 1 of `seed` into the folder `out` → how many were made now.

    Shards that are there already are left as they are, so a run that was stopped goes on where it stopped. `workers`
    processes (default: one per core) make the pictures, which do not depend on their number.

    Raises ShardError for a folder that holds something else, OSError for a full disk, KeyboardInterrupt after Ctrl-C.
    """
    config = {"size": size, "framing": framing, "seed": seed, "generator": GENERATOR}
    head_model(progress)  # built once, before every process wants it
    make = partial(_render_batch, seed=seed, size=size, framing=framing, truth=truth)
    return write_pictures(out, Description(count, shard_size, truth, config), make, workers, progress)


def write_pictures(
    out: Path,
    description: Description,
    make: Callable[[Iterable[int]], list[Encoded]],
    workers: int | None = None,
    progress: bool = True,
) -> int:
    """Write the pictures that are missing in the folder `out` → how many were made.

    `make` gets picture numbers and returns the encoded pictures, each with its truth if the description promises it;
    other processes call it, so it must be a function of a module, or a `partial` of one. Raises as `render_dataset`.
    """
    missing = start_dataset(out, description)
    indices = [i for shard in missing for i in description.members(shard)]
    if not indices:
        return 0
    with (
        stop_signals() as stop_wanted,  # heeded between two pictures, when no lock of the pool is held
        closing(_rendered(indices, make, workers or os.cpu_count() or 1)) as pictures,
        tqdm(
            total=description.count, initial=description.count - len(indices), unit=" images", disable=not progress,
            smoothing=0.05,
        ) as bar,
    ):  # fmt: skip
        for shard in missing:
            members = description.members(shard)
            contents = []
            for _ in members:
                if stop_wanted():
                    raise KeyboardInterrupt
                contents.append(next(pictures))
                bar.update()
            if description.truth:
                names = [member_name(i, "npz") for i in members]
                write_shard(truth_path(out, shard), names, [npz for _, npz in contents])
            write_shard(images_path(out, shard), [member_name(i, "png") for i in members], [png for png, _ in contents])
    return len(indices)


def encode_truth(truth: SnapshotTruth) -> bytes:
    """The truth as an .npz file. uv in half precision; the same truth gives the same bytes."""
    return encode_arrays(vars(truth) | {"uv": truth.uv.astype(np.float16)})


def encode_arrays(arrays: dict[str, Any]) -> bytes:
    """Named arrays or numbers as an .npz file; the same ones give the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in arrays.items():
            array = np.asarray(value)
            contents = _npy_header(array.dtype.str, array.shape) + array.tobytes()
            method = zipfile.ZIP_DEFLATED if array.nbytes >= LARGE else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), contents, method, compresslevel=1)
    return file.getvalue()


@cache
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """How an .npy file of such an array begins; NumPy takes longer to write that than the numbers themselves."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def encode_image(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _rendered(indices: list[int], make: Callable[[Iterable[int]], list[Encoded]], workers: int) -> Iterator[Encoded]:
    """Encoded snapshots in order, from `workers` processes that are a few batches ahead."""
    batches = [indices[i : i + BATCH] for i in range(0, len(indices), BATCH)]
    usual = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read when a new process loads its libraries
    pool = ProcessPoolExecutor(min(workers, len(batches)), get_context("spawn"), initializer=_start_worker)
    waiting = deque()
    try:
        for batch in batches:
            waiting.append(pool.submit(make, batch))
            if len(waiting) > 3 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OSError("a rendering process was killed; give it more memory or use fewer --workers") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for name, value in usual.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    torch.set_num_threads(1)


def _render_batch(indices: Iterable[int], seed: int, size: int, framing: Framing, truth: bool) -> list[Encoded]:
    result = []
    for snapshot in render_snapshots(seed, indices, size, framing):
        result.append((encode_image(snapshot.image), encode_truth(snapshot.truth) if truth else None))
    return result
