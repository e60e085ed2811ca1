"""One typed dataclass per command: its fields are the options on the command line and the keys of the TOML file.

    defaults of the dataclass  <  --config FILE.toml  <  what is typed

A key that no field has is an error, and so is a value of another type: a misspelt option that is silently ignored costs
an afternoon. What a field means stands in its annotation, `Annotated[int, Option("…")]`. Nothing here imports torch:
help is instant.
"""

import argparse
import dataclasses
import tomllib
import types
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """An option or a configuration file that cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class Option:
    """What a field of a command's dataclass is called in the help, how it is typed, and which values it takes.

    A `metavar` of several words stands for that many values: LEFT TOP SIDE.
    """

    help: str
    metavar: str | None = None
    positional: bool = False
    choices: tuple[str | int, ...] = ()  # all that is allowed; none: anything of the field's type
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class _Field:
    name: str
    kind: type  # of one value
    many: bool
    default: Any  # MISSING where one must be given
    option: Option

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def label(self) -> str:
        """As it is written on the command line."""
        return str(self.option.metavar) if self.option.positional else "--" + self.name.replace("_", "-")


def add_arguments(parser: argparse.ArgumentParser, command: type) -> None:
    """Give `parser` one option for each field of the dataclass `command`, and --config."""
    for field in _fields(command):
        settings: dict[str, Any] = {"help": field.option.help + _default(field), "default": argparse.SUPPRESS}
        if field.kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            listed = "|".join(map(str, field.option.choices))
            settings["metavar"] = field.option.metavar or listed or field.kind.__name__.upper()
            settings["type"] = field.kind
            if field.option.positional:  # not required here: the TOML file may hold it
                settings["nargs"] = "*" if field.many else "?"
                settings["default"] = None  # argparse would make a path of SUPPRESS
            elif field.many:
                words = settings["metavar"].split()
                settings |= {"nargs": len(words), "metavar": tuple(words)} if len(words) > 1 else {"nargs": "+"}
        parser.add_argument(field.name if field.option.positional else field.label, **settings)
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="read options from a TOML file; what is typed here wins"
    )


def resolve(command: type, typed: dict[str, Any], file: Path | None = None) -> Any:
    """An instance of the dataclass `command` from typed options over those of the TOML `file` over its defaults.

    Raises ConfigError for an unknown key, a value of the wrong type, one that is not allowed, a missing option or an
    unreadable file.
    """
    values = _read_toml(command, file) if file is not None else {}
    given = {key: value for key, value in typed.items() if value is not None and value != []}
    values |= {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    for field in _fields(command):
        if field.required and values.get(field.name) in (None, ()):
            raise ConfigError(f"{field.label} is missing; --help shows how")
        if field.name in values:
            value = values[field.name]
            for one in value if field.many else (value,):
                _check(field, one)
    return command(**values)


def _check(field: _Field, value: Any) -> None:
    option = field.option
    if option.choices and value not in option.choices:
        raise ConfigError(f"{field.label} {value}: choose one of {', '.join(map(str, option.choices))}")
    if option.at_least is not None and not value >= option.at_least:  # catches NaN, too
        raise ConfigError(f"{field.label} {value}: must be at least {option.at_least:g}")
    if option.at_most is not None and not value <= option.at_most:
        raise ConfigError(f"{field.label} {value}: must be at most {option.at_most:g}")


def _default(field: _Field) -> str:
    """For the help; silence where the default is to do without."""
    if any(field.default is nothing for nothing in (MISSING, None, False, ())):
        return ""
    if field.default is True:
        return " (default: on)"
    return f" (default: {' '.join(map(str, field.default)) if field.many else field.default})"


def _fields(command: type) -> list[_Field]:
    hints = typing.get_type_hints(command, include_extras=True)
    result = []
    for field in dataclasses.fields(command):
        hint, option = typing.get_args(hints[field.name])
        if typing.get_origin(hint) is types.UnionType:  # X | None
            hint = next(h for h in typing.get_args(hint) if h is not types.NoneType)
        many = typing.get_origin(hint) is tuple
        kind = typing.get_args(hint)[0] if many else hint
        result.append(_Field(field.name, kind, many, field.default, option))
    return result


def _read_toml(command: type, path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:  # TOML's and Unicode's complaints
        raise ConfigError(f'{path}: not valid TOML ({error}); write lines like  model = "open"') from error
    fields = {field.name: field for field in _fields(command)}
    values = {}
    for key, value in table.items():
        field = fields.get(key.replace("-", "_"))
        if field is None:
            raise ConfigError(f"{path}: unknown key {key!r}; known are {', '.join(fields)}")
        many = value if isinstance(value, list) else [value]
        values[field.name] = (
            tuple(_converted(field, v, path) for v in many) if field.many else _converted(field, value, path)
        )
    return values


def _converted(field: _Field, value: Any, path: Path) -> Any:
    """A TOML value as the field's type; whole numbers pass for fractions, nothing else for anything."""
    accepted = {Path: str, float: (int, float)}.get(field.kind, field.kind)
    if not isinstance(value, accepted) or (isinstance(value, bool) and field.kind is not bool):
        words = {Path: "a path in quotes", str: "text in quotes", bool: "true or false", int: "a whole number"}
        raise ConfigError(f"{path}: {field.name} = {value!r}, expected {words.get(field.kind, 'a number')}")
    return field.kind(value)
