"""Saving and loading trained networks (book: *A network that points*).

One file holds the numbers and says which network they belong to, so that loading needs nothing but its path. It is
safetensors, as our model files are: named arrays behind a JSON header, no code. Convolutions are stored in half
precision, which halves the file and changes what the network says by less than training noise does; what is one number
per channel (biases, and all of batch norm, whose variances span decades) stays float32. In memory everything is.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from facenb.atomic import atomic_path
from facenb.model_files import ModelFileError, all_finite, readable_file
from facenb.networks import KINDS, build_network

FORMAT = "facenb network weights"
VERSION = 1
SHIPPED = "network.safetensors"
_HEADER = "facenb"
# kind: (module, network, its options); those of `facenb.networks` have none
OTHERS = {
    "proxy": ("facenb.restore.proxy", "Proxy", "ProxyOptions"),
    "albedo-prior": ("facenb.restore.albedo_prior", "AlbedoPrior", "PriorOptions"),
    "restorer": ("facenb.restore.restorer", "Restorer", "RestorerOptions"),
    "collection": ("facenb.restore.collection", "CollectionNetwork", "CollectionOptions"),
}


class WeightsError(ModelFileError):
    """A file of weights that cannot be used; the message names it and says what to do."""


def save_weights(net: nn.Module, path: str | Path, half: bool = True, about: dict[str, Any] | None = None) -> None:
    """Write the weights of a network that `build_network` made, whole or not at all.

    Args:
        half: store convolutions as float16; False keeps every bit.
        about: what should be remembered with them (settings, log, evaluation); anything that JSON can hold.

    Raises WeightsError if a weight is not finite or too large for float16, which ends at 65,504; ValueError for other
    networks.
    """
    kind = getattr(net, "kind", None)
    if kind not in (*KINDS, *OTHERS):
        raise ValueError(f"{type(net).__name__} has no kind: save a network of build_network, not a wrapper around it")
    tensors = {}
    for name, tensor in net.state_dict().items():
        stored = tensor.detach().cpu().clone().contiguous()
        if stored.is_floating_point():
            of_layer = name.endswith(("weight", "place")) and stored.ndim > 1  # maps that only convolutions see
            stored = stored.to(torch.float16 if half and of_layer else torch.float32)
            if not all_finite(stored):
                raise WeightsError(
                    f"{path}: {name} has values that {stored.dtype} cannot hold; has the training diverged?"
                )
        tensors[name] = stored
    header = {"format": FORMAT, "version": VERSION, "kind": kind, "about": about or {}}
    if hasattr(net, "options"):
        header["options"] = asdict(net.options)
    content = save(tensors, {_HEADER: json.dumps(header)})  # one entry: safetensors writes several in random order
    with atomic_path(path) as unfinished:
        unfinished.write_bytes(content)


def load_weights(path: str | Path, kind: str | None = None) -> nn.Module:
    """The network in a file that `save_weights` wrote: float32, on the CPU, in evaluation mode.

    `kind`, if given, is the network that the caller needs, "narrow" for instance.

    Raises WeightsError, naming the file and the remedy, for anything that is not such a file, whole and of that kind.
    """
    with _opened(path) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
    if kind is not None and header["kind"] != kind:
        raise WeightsError(f"{path}: weights of a {header['kind']!r} network, a {kind!r} one is needed; give its file")
    net = _built(path, header)
    expected = net.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected or tensors[name].shape != expected[name].shape:
            found, wanted = (_shape(part.get(name)) for part in (tensors, expected))
            raise WeightsError(
                f"{path}: {name} is {found}, a {header['kind']!r} network has {wanted}; "
                "the file is damaged or of another version of facenb, train or download it again"
            )
        if tensors[name].is_floating_point() and not all_finite(tensors[name]):
            raise WeightsError(f"{path}: {name} holds NaN or infinite numbers; train or download it again")
    net.load_state_dict(tensors)  # copies into float32
    return net.eval()


def read_about(path: str | Path) -> dict[str, Any]:
    """What was saved beside the weights: {"kind": …} and everything that `about` held. Reads only the header.

    Raises WeightsError as `load_weights` does.
    """
    with _opened(path) as (_, header):
        return {"kind": header["kind"], **header["about"]}


def shipped_weights() -> Path:
    """Path of the trained network that comes with the package.

    Raises WeightsError if this installation lacks it.
    """
    path = Path(str(resources.files("facenb") / "data" / SHIPPED))
    if not path.is_file():
        raise WeightsError(f"{path}: the trained network is missing; install facenb again, or train one: facenb train")
    return path


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and our header in it; whatever is wrong with either, as one WeightsError."""
    try:
        path = readable_file(path)
        with safe_open(path, framework="pt") as file:
            yield file, _checked_header(path, file.metadata())
    except SafetensorError as error:
        raise WeightsError(f"{path}: broken safetensors file ({error}); copy or download it again") from error
    except WeightsError:
        raise
    except ModelFileError as error:
        raise WeightsError(str(error)) from error


def _checked_header(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    """Our own entry of the file's metadata."""
    try:
        header = json.loads((metadata or {}).get(_HEADER, "{}"))
    except json.JSONDecodeError:
        header = {}
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise WeightsError(f"{path}: safetensors, but not weights of facenb; facenb pretrain and train write those")
    if header.get("version") != VERSION:
        raise WeightsError(
            f"{path}: format version {header.get('version')}, this facenb reads {VERSION}; update facenb"
        )
    if header.get("kind") not in (*KINDS, *OTHERS):
        raise WeightsError(f"{path}: weights of a {header.get('kind')!r} network, unknown to this facenb; update it")
    if not isinstance(header.get("about"), dict):
        raise WeightsError(f"{path}: its header is damaged; copy or download it again")
    return header


def _built(path: str | Path, header: dict[str, Any]) -> nn.Module:
    """A fresh network of the kind and with the options that the header tells."""
    if header["kind"] in KINDS:
        return build_network(header["kind"])
    module, network, options = OTHERS[header["kind"]]
    there = import_module(module)  # here, because each belongs to its own part of the package
    try:
        kind = getattr(there, options)
        given = header.get("options", {})
        return getattr(there, network)(kind.from_dict(given) if hasattr(kind, "from_dict") else kind(**given))
    except TypeError as error:
        raise WeightsError(f"{path}: options that this facenb does not know ({error}); update it") from error


def _shape(tensor: torch.Tensor | None) -> str:
    return "missing" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"
