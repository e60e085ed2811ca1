"""`facenb export`: a fitted face, or a face of a model, as a mesh."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "export"
SHORT = "a fitted face as .glb, .obj or .ply"

ABOUT = """\
Write a face as a coloured mesh: one that `facenb fit` found, or one of a model. Millimetres in
.obj and .ply; metres in .glb, as that format wants.
"""

EXAMPLES = """\
examples:
  facenb export results/portrait.json --out face.obj
  facenb export results/portrait.json --out portrait.glb --photo portrait.jpg
  facenb export results/portrait.json --out resting.glb --neutral
  facenb export open --out mean.ply
  facenb export open --out somebody.glb --seed 7 --neutral
"""


@dataclass(frozen=True)
class Config:
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
    scale: Annotated[float, Option("how far random faces lie from the mean, in standard deviations", "NUMBER")] = 0.8


def run(config: Config) -> None:
    with loading():
        from facenb.export_command import export_face

    export_face(config.source, config.out, config.model, config.photo, config.neutral, config.seed, config.scale)
    print(config.out)
