"""The command line: `facenb`, or `python -m facenb`. Commands are typed dataclasses; torch is loaded when one runs.

Exit codes: 0 done; 2 bad input, one line on stderr; 130 stopped with Ctrl-C. Files appear whole or not at all.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

from facenb.config import Option, add_arguments, resolve
from facenb.version import __version__

_ABOUT = """\
From one photograph to a 3D face, with linear algebra only.

  facenb fit portrait.jpg --landmarks points.json --out results
  facenb export results/portrait.json --out face.obj
"""

_FIT = """\
Find the camera, the face and the light of each photo, from 68 points marked in it.

For each photo NAME it writes
  NAME.json   image, width, height, model, camera {K, R, t}, identity, expression, albedo,
              lighting, landmarks68, residuals
  NAME.glb    the coloured mesh
  NAME.png    the photo, and the fitted face laid over it

The points are 68 pairs [x, y] in the Multi-PIE order, from the subject's right jaw. Pixels of
the upright photo: x right, y down, (0, 0) at the centre of the top-left pixel. The file holds
the list, or {"landmarks68": list}, or one of these for each photo under its file name.
"""

_FIT_EXAMPLES = """\
examples:
  facenb fit portrait.jpg --landmarks portrait.points.json --out results
  facenb fit a.jpg b.jpg --landmarks points.json --out results
  facenb fit a.jpg --landmarks a.json --out results --model model2017-1_face12_nomouth.h5
  facenb fit --config fit.toml          # photos = ["a.jpg"], landmarks = "a.json", ...
"""

_EXPORT = """\
Write a face as a coloured mesh: one that `facenb fit` found, or one of a model. Millimetres in
.obj and .ply; metres in .glb, as that format wants.
"""

_EXPORT_EXAMPLES = """\
examples:
  facenb export results/portrait.json --out face.obj
  facenb export results/portrait.json --out portrait.glb --photo portrait.jpg
  facenb export results/portrait.json --out resting.glb --neutral
  facenb export open --out mean.ply
  facenb export open --out somebody.glb --seed 7 --neutral
"""


@dataclass(frozen=True)
class FitConfig:
    """Options of `facenb fit`."""

    photos: Annotated[tuple[Path, ...], Option("photos, one face each", "PHOTO", positional=True)]
    landmarks: Annotated[
        tuple[Path, ...],
        Option("JSON file with the 68 points: one for each photo, in order, or one that names them", "POINTS.json"),
    ]
    out: Annotated[Path, Option("folder for the results; older ones are replaced", "DIR")]
    model: Annotated[
        str,
        Option(
            '"open" (the default), or the path of a Basel Face Model (.h5), an ICT-FaceKit folder or a saved model',
            "open|PATH",
        ),
    ] = "open"
    max_side: Annotated[
        int,
        Option("fit on the photo shrunk to this many pixels; results count in its own (default: 1024)", "PIXELS"),
    ] = 1024


@dataclass(frozen=True)
class ExportConfig:
    """Options of `facenb export`."""

    source: Annotated[
        str,
        Option('NAME.json of `facenb fit`; or a model, "open" or a path', "FIT|MODEL", positional=True),
    ]
    out: Annotated[Path, Option("file to write; its ending chooses the format: .glb, .obj or .ply", "FILE")]
    photo: Annotated[Path | None, Option("wear this photo, the one that was fitted, as a texture", "PHOTO")] = None
    neutral: Annotated[bool, Option("leave the expression out")] = False
    model: Annotated[str | None, Option("use this model instead of the one that the fit names", "open|PATH")] = None
    seed: Annotated[
        int | None, Option("a random face of the model, the same for the same number; else its mean", "NUMBER")
    ] = None
    scale: Annotated[
        float, Option("how far random faces lie from the mean, in standard deviations (default: 0.8)", "NUMBER")
    ] = 0.8


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's page of usage."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name; returns the exit code."""
    typed = vars(_parser().parse_args(arguments))
    command, run = typed.pop("command"), typed.pop("run")
    file = typed.pop("config", None)
    try:
        run(resolve(command, typed, file))
    except (ValueError, OSError) as error:
        print(f"facenb: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("facenb: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="facenb", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"facenb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, config, run, about, examples, short in (
        ("fit", FitConfig, _run_fit, _FIT, _FIT_EXAMPLES, "camera, face and light of a photo, from 68 points"),
        ("export", ExportConfig, _run_export, _EXPORT, _EXPORT_EXAMPLES, "a fitted face as .glb, .obj or .ply"),
    ):
        sub = commands.add_parser(
            name,
            help=short,
            description=about,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(sub, config)
        sub.set_defaults(command=config, run=run)
    return parser


@contextmanager
def _loading() -> Iterator[None]:
    """Keep Ctrl-C for the end: libraries that are stopped halfway through being imported fail in their own words."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    pressed = threading.Event()
    usual = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed.is_set():
        raise KeyboardInterrupt


def _run_fit(config: FitConfig) -> None:
    with _loading():
        from facenb.fit_command import fit_photos

    fit_photos(config.photos, config.landmarks, config.out, config.model, config.max_side, say=print)


def _run_export(config: ExportConfig) -> None:
    with _loading():
        from facenb.export_command import export_face

    export_face(config.source, config.out, config.model, config.photo, config.neutral, config.seed, config.scale)
    print(config.out)
