"""Options: the dataclass, then the TOML file, then the command line; types are checked and nothing is ignored."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from facenb.config import ConfigError, Option, add_arguments, resolve


@dataclass(frozen=True)
class Command:
    inputs: Annotated[tuple[Path, ...], Option("what to read", "FILE", positional=True)]
    out: Annotated[Path, Option("where to write", "DIR")]
    steps: Annotated[int, Option("how many")] = 3
    step_size: Annotated[float, Option("how large")] = 0.5
    loud: Annotated[bool, Option("say more")] = False
    name: Annotated[str | None, Option("who")] = None
    colour: Annotated[str, Option("which", choices=("red", "green"))] = "red"
    zero: Annotated[int, Option("none, or some")] = 0
    careful: Annotated[bool, Option("look twice")] = True
    log: Annotated[Path | None, Option("where to tell", "FILE")] = None
    corner: Annotated[tuple[float, ...] | None, Option("where", "LEFT TOP")] = None
    parts: Annotated[tuple[float, ...], Option("where")] = (0.5, 0.8)
    share: Annotated[float, Option("how much of it", at_least=0, at_most=1)] = 0.5


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser, Command)
    typed = vars(parser.parse_args(words))
    return resolve(Command, typed, typed.pop("config", None))


def test_what_is_typed_gets_the_types_of_the_fields():
    command = parse("a", "b", "--out", "c", "--steps", "7", "--step-size", "1", "--loud", "--name", "Ada")
    assert command == Command((Path("a"), Path("b")), Path("c"), 7, 1.0, True, "Ada")
    assert parse("a", "--out", "c") == Command((Path("a"),), Path("c"))


def test_the_file_beats_the_defaults_and_what_is_typed_beats_the_file(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('inputs = ["a", "b"]\nout = "c"\nsteps = 9\nstep-size = 2\nloud = true\n')
    assert parse("--config", str(file)) == Command((Path("a"), Path("b")), Path("c"), 9, 2.0, True)
    assert parse("x", "--config", str(file), "--steps", "1", "--no-loud") == Command(
        (Path("x"),), Path("c"), 1, 2.0, False
    )


def test_two_words_stand_for_two_values(capsys):
    """So they do not swallow what follows them."""
    command = parse("--out", "c", "--corner", "1", "2", "a")
    assert command.corner == (1.0, 2.0) and command.inputs == (Path("a"),)
    with pytest.raises(SystemExit):
        parse("a", "--out", "c", "--corner", "1")
    assert "expected 2 arguments" in capsys.readouterr().err


def test_one_value_will_do_for_a_list(tmp_path):
    (tmp_path / "c.toml").write_text('inputs = "a"\nout = "c"\n')
    assert parse("--config", str(tmp_path / "c.toml")).inputs == (Path("a"),)


@pytest.mark.parametrize(
    "text, message",
    [
        ("step = 3", "unknown key 'step'; known are inputs, out, steps"),
        ("steps = 3.5", "steps = 3.5, expected a whole number"),
        ("steps = true", "steps = True, expected a whole number"),
        ("steps = '3'", "steps = '3', expected a whole number"),
        ("step_size = 'big'", "expected a number"),
        ("loud = 1", "expected true or false"),
        ("name = 5", "expected text in quotes"),
        ("inputs = [1]", "expected a path in quotes"),
        ("out = ['a']", "expected a path in quotes"),
        ("steps = ", "not valid TOML"),
        ("[steps]\nx = 1", "expected a whole number"),
        ("careful = 'no'", "careful = 'no', expected true or false"),
        ("log = 3", "log = 3, expected a path in quotes"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path, text, message):
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        parse("a", "--out", "b", "--config", str(file))
    assert str(error.value).startswith(f"{file}: ")


def test_unreadable_files_are_named(tmp_path):
    for name in ("nowhere.toml", "."):
        with pytest.raises(ConfigError, match="cannot be read"):
            parse("--config", str(tmp_path / name))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        parse("--config", str(tmp_path / "latin.toml"))


@pytest.mark.parametrize("words, missing", [((), "FILE"), (("a",), "--out")])
def test_what_is_required_is_asked_for(words, missing):
    with pytest.raises(ConfigError, match=f"{missing} is missing"):
        parse(*words)


def test_optional_paths_and_switches_that_are_on(tmp_path):
    command = parse("a", "--out", "b", "--log", "c", "--no-careful")
    assert (command.log, command.careful) == (Path("c"), False)
    file = tmp_path / "c.toml"
    file.write_text('log = "d"\ncareful = false\n')
    command = parse("a", "--out", "b", "--config", str(file))
    assert (command.log, command.careful) == (Path("d"), False)
    assert (parse("a", "--out", "b").log, parse("a", "--out", "b").careful) == (None, True)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("colour", "blue", "--colour blue: choose one of red, green"),
        ("share", "1.5", "--share 1.5: must be at most 1"),
        ("share", "-0.1", "--share -0.1: must be at least 0"),
        ("share", "nan", "--share nan: must be at least 0"),
    ],
)
def test_values_that_are_not_allowed_are_refused_typed_or_in_a_file(tmp_path, key, value, message):
    file = tmp_path / "c.toml"
    file.write_text(f"{key} = " + (f"'{value}'" if key == "colour" else value))
    for words in ((f"--{key}", value), ("--config", str(file))):
        with pytest.raises(ConfigError) as error:
            parse("a", "--out", "b", *words)
        assert str(error.value) == message
    assert parse("a", "--out", "b", "--colour", "green", "--share", "1").colour == "green"


def test_help_tells_defaults_and_choices():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Command)
    text = " ".join(parser.format_help().split())
    assert "--colour red|green which (default: red)" in text
    assert "how large (default: 0.5)" in text and "none, or some (default: 0)" in text
    assert "look twice (default: on)" in text
    assert "where (default: 0.5 0.8)" in text
    assert "say more (default" not in text and "who (default" not in text


def test_a_single_path_without_a_name_may_stand_in_the_file(tmp_path):
    @dataclass(frozen=True)
    class Single:
        folder: Annotated[Path, Option("what to read", "DIR", positional=True)]

    def parse(*words):
        parser = argparse.ArgumentParser()
        add_arguments(parser, Single)
        typed = vars(parser.parse_args(words))
        return resolve(Single, typed, typed.pop("config", None))

    file = tmp_path / "c.toml"
    file.write_text('folder = "a"\n')
    assert parse("--config", str(file)) == Single(Path("a"))
    assert parse("b", "--config", str(file)) == Single(Path("b"))
    with pytest.raises(ConfigError, match="DIR is missing"):
        parse()
