"""Hair of the head: random styles cut out of the cage (book: *It learns*).

A style says, for each azimuth around the head, down to which height hair hangs (mm on the mean head), how thick it lies
on top, at the sides and at the back, how freely it falls, and how it is structured. Everything else is noise from the
bank of patterns. Hair that covers a part of the forehead, the temples or the ears is common, as in photographs.

Units mm; angles in degrees from the front, growing to the subject's left; colours sRGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facenb.heads.cage import N_COLUMNS, Cage
from facenb.heads.cage_sheet import angles_and_heights, ear_room, sheet, wrap
from facenb.heads.mesh_tools import ramp
from facenb.heads.parts import Part
from facenb.heads.patterns import ROWS, pattern
from facenb.open_model.skin import hair_colour

# Azimuths (degrees) at which a style states where hair ends: front, corner, temple, sideburn, ear, behind it, back
KNOTS = np.array([0.0, 32.0, 54.0, 72.0, 92.0, 118.0, 180.0])
SHORT = np.array([96.0, 88.0, 60.0, 12.0, 38.0, -12.0, -62.0])  # the natural hairline, ears free
STYLES = {  # chance for a woman, for a man
    "bald": (0.005, 0.07),
    "shaved": (0.01, 0.16),
    "balding": (0.0, 0.08),
    "short": (0.10, 0.42),
    "medium": (0.08, 0.10),
    "bob": (0.17, 0.02),
    "long": (0.36, 0.05),
    "tied": (0.19, 0.02),
    "afro": (0.085, 0.08),
}
RECEDED = np.array([20.0, 30.0, 12.0, 0.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class HairStyle:
    """See the module's docstring; `end` has a value (mm) for each KNOT, once on the left and once on the right."""

    name: str
    colour: Float[np.ndarray, " 3"]
    end: Float[np.ndarray, "2 7"]
    thick: tuple[float, float, float] = (8.0, 6.0, 8.0)  # top, sides, back, mm
    loose: float = 0.3  # 0 clings to head and neck, 1 falls straight
    ragged: float = 4.0  # mm
    curl: float = 0.0  # mm
    lumps: float = 0.15  # of the thickness
    strands: float = 0.2  # of brightness
    covers_ears: bool = False
    parting: float | None = None  # azimuth of a parting, degrees
    tips: float = 0.0  # how much lighter the ends are
    bun: str = ""  # "", "bun", "top knot", "ponytail"
    painted: float = 0.9  # how dark hair tints the skin of the scalp


def random_hair_colour(darkness: float, age: float, rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """sRGB; `darkness` of the skin and `age` in [0, 1]. Dark skin rarely comes with fair hair, grey hair with youth."""
    melanin = np.clip(5.2 + 4.4 * darkness + (1.9 - 1.3 * darkness) * rng.standard_normal(), 1.6, 9.5)
    red = rng.uniform(0.1, 0.5) + (rng.random() < 0.12 * (1 - darkness)) * rng.uniform(0.5, 1.4)
    if rng.random() < np.clip(1.6 * age - 0.5, 0.02, 0.9):
        grey = rng.uniform(0.3, 1)
        melanin, red = melanin * (1 - 0.9 * grey), red * (1 - grey)
    linear = hair_colour(melanin, red)
    if rng.random() < 0.012:  # dyed
        linear = rng.uniform(0.02, 0.5, 3)
    return (np.clip(linear, 0, 1) ** (1 / 2.2)).astype(np.float32)


def random_style(
    man: float, age: float, colour: Float[np.ndarray, " 3"], darkness: float, rng: np.random.Generator
) -> HairStyle:
    """A style for a person; `man`, `age` and `darkness` of the skin in [0, 1]."""
    chances = np.array([(1 - man) * w + man * m for w, m in STYLES.values()])
    name = rng.choice(list(STYLES), p=chances / chances.sum())
    u, n = rng.uniform, rng.standard_normal
    end = np.stack([SHORT, SHORT]) + 4 * n() + 2.5 * n((2, 7))
    end -= RECEDED * -1 * (man * age * u(0, 1.0) * (u() < 0.6))
    curl = u(2, 8) if u() < 0.25 + 0.3 * darkness else u(0, 1.2)
    ragged, strands = u(2, 6), u(0.12, 0.32)
    tips = u(0, 0.5) if u() < 0.25 else 0.0
    if name in ("bald", "shaved", "balding"):
        paint = {"bald": u(0, 0.25), "shaved": u(0.35, 0.85), "balding": u(0.5, 0.9)}[name]
        if name == "balding":
            end[:, :3] = [145, 140, u(80, 125)]  # the crown is bare
        return HairStyle(
            name, colour, end, (0.5, u(2, 7), u(2, 6)), 0.0, ragged, curl / 3, strands=strands, painted=paint
        )
    fringe = _random_fringe(rng)
    if name == "short":
        if fringe is not None and u() < 0.5:
            end[:, :3] = np.minimum(end[:, :3], fringe[:, :3] + 12)
        top = u(3, 34)
        side = u(1.5, min(12, top))
        end[:, 3] += u(-18, 10)
        return HairStyle(
            name, colour, end, (top, side, u(3, 12)), u(0, 0.4), ragged, curl, u(0.1, 0.3), strands, tips=tips
        )
    if name == "afro":
        size = u(15, 62)
        end[:, 3:] -= u(0, 40)
        return HairStyle(
            name, colour, end, (size * u(0.8, 1.2), size, size), 0.5, 5.0, u(4, 9), 0.12, 0.35, size > 25, painted=0.95
        )
    if name == "tied":
        end[:, 6] += 8
        bun = str(rng.choice(["bun", "top knot", "ponytail"]))
        if u() < 0.35 and fringe is not None:
            end[:, :3] = fringe[:, :3]
        style = HairStyle(
            name, colour, end, (u(3, 9), u(2, 5), u(3, 8)), 0.1, u(1.5, 4), curl / 3, 0.1, strands, bun=bun, tips=tips
        )
        if u() < 0.3:  # strands in front of the ears
            style.end[:, 3] = u(-90, -20)
        return style
    length = {"medium": u(-75, -30), "bob": u(-125, -75), "long": u(-330, -130)}[name]
    if fringe is not None and u() < 0.7:
        end[:, :3] = fringe[:, :3]
    tucked = u() < 0.22  # behind the ears
    end[:, 4:] = length + 6 * n((2, 3))
    end[:, 3] = end[:, 3] if tucked else length + 12 * n(2)
    if tucked:
        end[:, 4] = 34
    if not tucked and u() < 0.6:  # curtains that reach over the temples and cheeks
        end[:, 2] = length + 20 * n(2) if u() < 0.6 else u(-60, 40, 2)
    if u() < 0.25:  # all on one side
        end[int(u() < 0.5), 2:5] = SHORT[2:5]
    parting = u(-35, 35) if u() < 0.7 else None
    thick = (u(5, 20), u(4, 20), u(5, 22))
    return HairStyle(
        name, colour, end, thick, u(0.05, 0.9), u(4, 14), curl, u(0.1, 0.3), strands, not tucked, parting, tips
    )


def _random_fringe(rng: np.random.Generator) -> Float[np.ndarray, "2 7"] | None:
    """Where a fringe ends on the forehead, or None for hair combed back."""
    if rng.random() < 0.55:
        return None
    u = rng.uniform
    end = np.stack([SHORT, SHORT])
    kind = rng.choice(["straight", "swept", "curtain", "wisps"])
    if kind == "straight":
        end[:, :3] = u(36, 72) + np.array([0, u(-4, 2), u(-12, 0)])
    elif kind == "swept":
        side = int(u() < 0.5)
        end[side, :3] = [u(58, 85), u(36, 66), u(5, 45)]
        end[1 - side, :3] = [u(60, 88), 82, u(50, 62)]
        end[:, 0] = end[side, 0]
    elif kind == "curtain":
        end[:, :3] = [u(78, 92), u(52, 76), u(-10, 35)]
    else:
        end[:, :3] = u(60, 88) + rng.normal(0, 8, (2, 3))
        end[:, 0] = end[0, 0]
    return end


def end_heights(style: HairStyle, azimuth: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Height (mm) at which hair ends, at azimuths in degrees within ±180; the two sides blend at front and back."""
    left = np.interp(np.abs(azimuth), KNOTS, style.end[0])
    right = np.interp(np.abs(azimuth), KNOTS, style.end[1])
    share = ramp(azimuth, 6.0)
    share = np.where(np.abs(azimuth) > 90, ramp(np.sign(azimuth) * (180 - np.abs(azimuth)), 12.0), share)
    return share * left + (1 - share) * right


def hair_shell(
    style: HairStyle, cage: Cage, moved: Float[np.ndarray, "G 3"], rng: np.random.Generator
) -> tuple[Part, Float[np.ndarray, " G"]]:
    """The shell of hair, and how much hair there is at each cage point in [0, 1] (the part's alpha without noise).

    `moved` is how far the cage points have followed this person's head.
    """
    R, U = ROWS, N_COLUMNS
    azimuth, y = angles_and_heights(cage)
    strands, locks, lumps = pattern("strands", rng), pattern("locks", rng), pattern("lumps", rng)
    wave = pattern("waves", rng) if style.curl > 1.5 else locks
    # each column's end is ragged, and its edge wanders sideways on the way down
    wander = (1.2 * locks + (0.35 * style.curl) * wave) * np.linspace(0.3, 1.5, R, dtype=np.float32)[:, None]
    end = end_heights(style, wrap(azimuth + 1.6 * wander)).astype(np.float32)
    end = end + style.ragged * (0.7 * strands + 0.6 * locks)
    above = y - end  # mm
    alpha = np.clip(0.5 + above / (1.2 * style.ragged + 7.0), 0, 1).astype(np.float32)

    back = (-np.cos(np.radians(azimuth))).clip(0) ** 2
    down = ramp(60 - y, 60)  # 0 on top, 1 at the sides
    top, side, rear = style.thick
    away = ramp(np.arange(R, dtype=np.float32) - 2, 8)[:, None]  # all columns meet at the crown: no ridges there
    thick = (1 - down) * top + down * (back * rear + (1 - back) * side)
    thick = thick * (1 + away * (style.lumps * lumps + 0.8 * style.lumps * pattern("shape", rng)))
    taper = ramp(above - 2, 8 + 0.35 * thick)  # thin at a hairline
    hangs = ramp(end_heights(style, azimuth)[None, :] * -1 - 20, 30) * ramp(70 - y, 30)  # but not where it hangs
    thick = 1.5 + thick * np.maximum(taper, hangs)
    if style.parting is not None:
        line = np.exp(-((wrap(azimuth - style.parting) / 9) ** 2)) * (1 - down)
        thick = thick * (1 - 0.6 * line)
    if style.covers_ears:
        thick = thick + ear_room(azimuth, y) * (16 - 0.5 * np.minimum(thick, 20)).clip(4)
    thick = thick + away * 0.25 * locks * np.minimum(thick, 8)
    if style.curl > 1.5:
        thick = thick + style.curl * 0.6 * pattern("curls", rng) * ramp(thick - 4, 8) * away

    wave = style.curl * 0.5 * wave * ramp(40 - y, 60) if style.curl > 0.5 else None
    shade = style.strands * (0.9 * strands + 0.5 * locks + 0.35 * rng.standard_normal(U, np.float32))
    if style.curl > 1.5:
        shade = shade + 0.12 * pattern("curls", rng)
    shade = shade + style.tips * ramp(20 - above, 60) - 0.15 * (1 - taper)
    if style.parting is not None:
        shade = shade - 0.35 * line
    colour = style.colour * np.exp(shade[..., None] * np.array([0.9, 1.0, 1.1], np.float32))
    sky = 0.62 + 0.38 * np.maximum(1 - down, ramp(thick - 3, 8)) - 0.2 * ramp(-y - 40, 50) * (1 - style.loose)
    part = sheet(
        "hair",
        cage,
        moved,
        alpha,
        thick,
        colour,
        sky,
        loose=(style.loose * (0.8 + 0.2 * lumps)).clip(0, 1),
        sideways=wave,
        specular=float(rng.uniform(0.01, 0.09)),
        gloss=float(rng.uniform(5, 20)),
        texture_noise=float(0.6 * style.strands),
    )
    return part, alpha.ravel()
