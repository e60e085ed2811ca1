"""What `facenb evaluate` does: a network and a test set in; a table, and a JSON file with everything, out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from facenb.atomic import atomic_path
from facenb.config import ConfigError
from facenb.evaluation import BATCH, EvaluationSet, baselines, evaluate, machine, photo_set, rendered_set, table
from facenb.labelled_photos import read_labelled_photos
from facenb.model_source import OPEN, load_model
from facenb.reconstruction import ReconstructionOptions, reconstruction_tables
from facenb.version import __version__
from facenb.weights import load_weights, read_about, shipped_weights


def evaluate_set(
    data: Path,
    out: Path,
    weights: Path | None,
    pretrained: Path | None,
    refine: int,
    framing: str,
    size: int,
    limit: int | None,
    say: Callable[[str], None],
    progress: bool = True,
) -> dict[str, object]:
    """Evaluate, write the results to `out`, say the table, and return what was written.

    Raises ValueError (of the module that noticed) naming the file and the remedy.
    """
    if out.suffix.lower() != ".json":
        raise ConfigError(f"{out}: results are written as JSON; call the file .json")
    if size % 16:
        raise ConfigError(f"--size {size}: the network takes multiples of 16")
    weights = weights or shipped_weights()
    rendered = (data / "dataset.json").is_file()
    photos = None if rendered else read_labelled_photos(data, limit)
    net = load_weights(weights).to(memory_format=torch.channels_last)
    options = ReconstructionOptions()
    model = load_model(OPEN)
    tables = reconstruction_tables(model, options)

    def bar(what: str, items):
        return tqdm(items, desc=what, disable=None if progress else True)

    def batches(what: str, test: EvaluationSet):
        return bar(what, range(0, len(test), BATCH))

    if rendered:
        test = rendered_set(data, limit)
    else:
        finder = (net, tables) if framing == "find" else None
        test = photo_set(photos, model, size, finder, bar("cropping", photos.paths))
    if test.images.shape[-1] % 16:
        raise ConfigError(f"{data}: pictures of {test.images.shape[-1]} pixels; render them in a multiple of 16")
    results = evaluate(net, model, tables, test, 0, options, batches("evaluating", test))
    content: dict[str, object] = {
        "facenb": __version__,
        "machine": machine(),
        "data": str(data),
        "count": len(test),
        "kind": "rendered" if rendered else f"photos, framing {framing}",
        "seed": json.loads((data / "dataset.json").read_text())["config"].get("seed") if rendered else None,
        "size": test.images.shape[-1],
        "weights": {"file": str(weights), **read_about(weights)},
        "reconstruction": asdict(options),
        "baselines": baselines(test, model),
        "results": results,
    }
    shown = dict(results)
    if refine:
        refined = evaluate(net, model, tables, test, refine, options, batches(f"refining by {refine}", test))
        content |= {"refine_steps": refine, "refined": refined}
        shown |= {
            f"refined {name}": refined[name]
            for name in refined
            if name not in ("direct", "direct_box", "direct_seen", "iou", "uv_texels", "depth_percent")
        }
    if pretrained is not None:
        other = load_weights(pretrained).to(memory_format=torch.channels_last)
        before = evaluate(other, model, tables, test, 0, options, batches("pretrained", test))
        content["pretrained"] = {"weights": {"file": str(pretrained), **read_about(pretrained)}, **before}
        shown |= {f"pretrained {name}": before[name] for name in ("fitted", "direct")}
    with atomic_path(out) as unfinished:
        unfinished.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    say(table(shown, content["baselines"]))
    say(str(out))
    return content


def _finite(value: object) -> object:
    """JSON knows no infinity: a median that is a failure is written as null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
