"""A live figure as html: in a page of the book, without a kernel and without a network, or as a page of its own.

The figures of a page share scripts and face models: the first one that needs them brings them along, all others wait
for them, in whatever order a browser runs them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from facenb.widgets.bundle import script

LIBRARY = "library"

# globalThis.facenb(name) is a promise of what somebody gives under that name, once
_SHARE = """globalThis.facenb ??= (() => {
  const shared = {};
  const promise = () => {
    let give;
    return Object.assign(new Promise((resolve) => { give = resolve; }), { give });
  };
  return (name) => shared[name] ??= promise();
})();
"""
_STYLE = "display:block;margin:1rem auto;max-width:min(100%,512px);border-radius:10px"


class Shared:
    """What the figures of one page, that is of one kernel, have been given already."""

    def __init__(self) -> None:
        self.given: set[str] = set()

    def scripts(self, files: dict[str, bytes]) -> str:
        """Module scripts that give the library and the `files` that nobody has given yet."""
        parts = []
        if LIBRARY not in self.given:
            parts.append(f'<script type="module">{_SHARE}{script()}\nfacenb("{LIBRARY}").give({{ mount }});</script>')
            self.given.add(LIBRARY)
        for name, data in files.items():
            if name not in self.given:
                text = base64.b64encode(data).decode()
                decode = f'Uint8Array.from(atob("{text}"), (c) => c.charCodeAt(0))'
                parts.append(f'<script type="module">{_SHARE}facenb({json.dumps(name)}).give({decode});</script>')
                self.given.add(name)
        return "\n".join(parts)


def figure_html(name: str, state: dict, still: bytes, alt: str, scripts: str) -> str:
    """The figure `name`, an id; until it lives, and where there is no WebGL, the picture `still` (JPEG) stands."""
    picture = base64.b64encode(still).decode()
    text = json.dumps(state, separators=(",", ":")).replace("</", "<\\/")
    return (
        f'<div id="{name}" class="facenb-figure" data-figure="{state["figure"]}">'
        f'<img class="still" style="{_STYLE}" alt="{_escaped(alt)}" src="data:image/jpeg;base64,{picture}"></div>\n'
        f"{scripts}\n"
        f'<script type="module">{_SHARE}const state = {text};\n'
        f'(await facenb("{LIBRARY}")).mount(document.getElementById("{name}"), state, facenb);</script>'
    )


def page_html(title: str, bodies: Iterable[str]) -> str:
    """A page of its own around figures; it follows the reader's light or dark mode."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escaped(title)}</title>\n"
        "<style>:root{color-scheme:light dark}body{max-width:980px;margin:2rem auto;padding:0 1rem}</style>"
        "</head>\n<body>\n" + "\n".join(bodies) + "\n</body></html>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
