"""The command line: `facenb`, or `python -m facenb`. It finds the command's module, reads its options and runs it.

Exit codes: 0 done; 2 bad input, one line on stderr; 3 no face found in a photo; 130 stopped with Ctrl-C or SIGTERM.
Files appear whole or not at all. Help is instant, because torch is loaded only when a command runs.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from facenb.commands import (
    evaluate,
    export,
    fit,
    pretrain,
    reconstruct,
    render,
    restore,
    studio,
    train,
    train_collection,
    train_prior,
    train_proxy,
    train_restorer,
)
from facenb.config import add_arguments, resolve
from facenb.version import __version__


class Command(Protocol):
    """What a module of `facenb.commands` offers."""

    NAME: str
    SHORT: str
    ABOUT: str
    EXAMPLES: str
    Config: type

    def run(self, config: Any) -> int | None: ...


# In the order in which `facenb --help` lists them.
COMMANDS: tuple[Command, ...] = (
    reconstruct,
    fit,
    export,
    render,
    pretrain,
    train,
    evaluate,
    restore,
    studio,
    train_proxy,
    train_prior,
    train_restorer,
    train_collection,
)

_ABOUT = """\
From one photograph to a 3D face.

  facenb fit portrait.jpg --landmarks points.json --out results
  facenb export results/portrait.json --out face.obj
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's page of usage."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's own) name; returns the exit code."""
    known, unknown = _parser().parse_known_args(arguments)
    typed = vars(known)
    command, parser = typed.pop("command"), typed.pop("parser")
    if unknown:  # argparse would blame the whole programme, whose help does not know the command's options
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    file = typed.pop("config", None)
    try:
        return command.run(resolve(command.Config, typed, file)) or 0
    except (ValueError, OSError) as error:
        print(f"facenb: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"facenb: stopped {stop}".rstrip(), file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    pages = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(prog="facenb", description=_ABOUT, **pages)
    parser.add_argument("--version", action="version", version=f"facenb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.SHORT,
            description=command.ABOUT,
            epilog=command.EXAMPLES,
            allow_abbrev=False,  # a misspelt option is an error, too
            **pages,
        )
        add_arguments(sub, command.Config)
        sub.set_defaults(command=command, parser=sub)
    return parser
