"""The JavaScript of the figures as one ES module, since a page that is opened from a disk may not import files.

The sources in `js/` are modules that import each other by name. Each becomes a function that runs once and returns what
it exports, in the order in which they need each other; nothing else is changed, so errors keep their words and names.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (default )?(?:(async function\*?|function|class|const|let) (\w+))?", re.MULTILINE)


@cache
def script(entry: str = "main") -> str:
    """`entry` and all that it imports as one module; it exports what `entry` exports.

    Raises ValueError for an import in a circle or of a module that is not there.
    """
    order: list[str] = []
    _visit(entry, order, ())
    bodies = [f"const module_{name} = (() => {{\n{_as_function(name)}}})();\n" for name in order]
    names = _exports(_source(entry))
    ends = [f"export const {{ {', '.join(n for n in names if n != 'default')} }} = module_{entry};\n"]
    if "default" in names:
        ends.append(f"export default module_{entry}.default;\n")
    return "".join([*bodies, *ends])


def _visit(name: str, order: list[str], above: tuple[str, ...]) -> None:
    if name in above:
        raise ValueError(f"the scripts import each other in a circle: {' → '.join([*above, name])}")
    if name not in order:
        for _, other in _IMPORT.findall(_source(name)):
            _visit(other, order, (*above, name))
        order.append(name)


def _source(name: str) -> str:
    file = files("facenb.widgets") / "js" / f"{name}.js"
    if not file.is_file():
        raise ValueError(f"there is no script {name}.js beside the others")
    return file.read_text(encoding="utf-8")


def _exports(source: str) -> list[str]:
    return ["default" if default else name for default, _, name in _EXPORT.findall(source)]


def _as_function(name: str) -> str:
    source = _source(name)
    body = _IMPORT.sub(lambda m: f"const {{{m[1].replace(' as ', ': ')}}} = module_{m[2]};\n", source)
    body = _EXPORT.sub(lambda m: "const default_ = " if m[1] else f"{m[2]} {m[3]}", body)
    given = [f"default: default_" if n == "default" else n for n in _exports(source)]  # noqa: F541
    return f"{body}return {{ {', '.join(given)} }};\n"
