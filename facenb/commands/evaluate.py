"""`facenb evaluate`: how good a trained network is, on pictures whose truth is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from facenb.config import Option
from facenb.interrupts import loading

NAME = "evaluate"
SHORT = "errors of a trained network on a test set"

ABOUT = """\
Compare what a network says with the truth: landmarks (Direct and Fitted, mean error of five
points in percent of the distance of the eyes), overlap of the masks, correspondence (texels of
a 320 map), depth, pose and vertices; beside baselines that need no network. All numbers go to a
JSON file, with the options, the machine and the version; a table is printed.

DATA is a folder that `facenb render` wrote, or photos with five marked points (the eyes from left
to right in the picture, nose, corners of the mouth from left to right): a list, or a folder with
one list:

  list.txt    name x1 y1 x2 y2 x3 y3 x4 y4 x5 y5       also CelebA's and MAFL's own,
              list_landmarks_align_celeba.txt beside the folder img_align_celeba
  list.csv    the same with commas
  list.json   {"name": [[x, y], ...]}, 5 points or 68

Photos are cropped about their true points, as is the custom, or with --framing find by the network
itself; then a face that it does not find counts as a failure.
"""

EXAMPLES = """\
examples:
  facenb evaluate test --out result.json
  facenb evaluate test --weights run/network.safetensors --refine 8 --out result.json
  facenb evaluate MAFL/list_landmarks_align_celeba.txt --limit 1000 --out mafl.json
"""


@dataclass(frozen=True)
class Config:
    """Options of `facenb evaluate`."""

    data: Annotated[
        Path, Option("test set: a rendered folder, or a list of photos with points", "DATA", positional=True)
    ]
    out: Annotated[Path, Option("file for the results", "FILE.json")]
    weights: Annotated[
        Path | None, Option("the network, as `facenb train` writes it (default: the one shipped)", "FILE")
    ] = None
    pretrained: Annotated[Path | None, Option("another network to put beside it", "FILE")] = None
    refine: Annotated[
        int, Option("evaluate once more with this many steps on each picture itself", "STEPS", at_least=0, at_most=1000)
    ] = 0
    framing: Annotated[str, Option("how photos are cropped", choices=("points", "find"))] = "points"
    size: Annotated[int, Option("pixels of cropped photos", "PIXELS", at_least=16, at_most=1024)] = 64
    limit: Annotated[int | None, Option("take only the first pictures", "NUMBER", at_least=1)] = None


def run(config: Config) -> None:
    with loading():
        from facenb.evaluate_command import evaluate_set

    evaluate_set(
        config.data,
        config.out,
        config.weights,
        config.pretrained,
        config.refine,
        config.framing,
        config.size,
        config.limit,
        say=print,
    )
