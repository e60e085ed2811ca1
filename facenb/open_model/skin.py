"""The colour of skin, hair and irises from the pigments in them (book: *Morphable models*).

Three pigments tint skin: brown melanin in the outermost tenth of a millimetre, red haemoglobin in the blood below, and
a little yellow carotene. Light is absorbed on its way in and out; each unit of a pigment takes a constant share, so
amounts add in the exponent. Tsumura et al. (2003) take photographs of skin apart in this way, Jimenez et al. (2010)
paint faces with it:

    colour = base · exp(−melanin μ_m − haemoglobin μ_h − carotene μ_c) + surface

Conventions: linear RGB reflectance in [0, 1]; amounts in arbitrary units ≥ 0, of melanin 0.5 (very light) to 5 (very
dark), of haemoglobin about 0.2.

`BASE` and `MU_MELANIN` are a least-squares fit to ten colours along the range of human skin, from L*a*b* (76, 6, 12)
over (60, 11.5, 19) and (42, 13, 18) to (26, 6.5, 7). The exponents fall with wavelength nearly like λ^−3.3, which is
the absorption of melanin in tissue. `SURFACE` is a compromise: our light and brown skin stays within three units of
those colours, but our darkest is up to ten units more saturated, because a linear model cannot follow colours that
curve away from a straight line. The remaining spectra are chosen by eye.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

BASE = np.array([0.832, 0.742, 0.672])  # skin without blood and pigment
SURFACE = np.array([0.004, 0.022, 0.019])  # scattered before it meets a pigment: why very dark skin is less saturated
MU_MELANIN = np.array([0.41, 0.717, 1.0])
MU_HAEMOGLOBIN = np.array([0.12, 0.62, 0.50])  # green most of all: the bands at 542 and 577 nm
MU_CAROTENE = np.array([0.0, 0.05, 0.5])

HAIR_BASE = np.array([0.62, 0.58, 0.52])  # white hair
MU_EUMELANIN = np.array([0.50, 0.62, 0.78])  # brown to black
MU_PHEOMELANIN = np.array([0.15, 0.75, 1.35])  # red

IRIS_BASE = np.array([0.150, 0.205, 0.265])  # an iris without pigment scatters blue, like the sky
MU_IRIS = np.array([0.45, 0.88, 1.45])
DARKEST = 0.006  # hair and pupils keep a little light


def skin_colour(
    melanin: Float[ndarray, "*any"],
    haemoglobin: Float[ndarray, "*any"],
    carotene: Float[ndarray, "*any"] | float = 0.0,
) -> Float[ndarray, "*any 3"]:
    """Linear RGB of skin with these amounts of pigment (formula above)."""
    absorbed = (
        np.multiply.outer(melanin, MU_MELANIN)
        + np.multiply.outer(haemoglobin, MU_HAEMOGLOBIN)
        + np.multiply.outer(carotene, MU_CAROTENE)
    )
    return BASE * np.exp(-absorbed) + SURFACE


def melanin_of_green(green: Float[ndarray, "*any"], haemoglobin: float = 0.2) -> Float[ndarray, "*any"]:
    """Melanin that gives skin the linear green reflectance `green`: inverts the middle channel of `skin_colour`."""
    return (np.log(BASE[1] / (green - SURFACE[1])) - haemoglobin * MU_HAEMOGLOBIN[1]) / MU_MELANIN[1]


def hair_colour(eumelanin: Float[ndarray, "*any"], pheomelanin: Float[ndarray, "*any"]) -> Float[ndarray, "*any 3"]:
    """Linear RGB of hair: eumelanin 0 white, 2 blond, 4 brown, 8 black; pheomelanin 0 to 1.5 (red)."""
    absorbed = np.multiply.outer(eumelanin, MU_EUMELANIN) + np.multiply.outer(pheomelanin, MU_PHEOMELANIN)
    return HAIR_BASE * np.exp(-absorbed) + DARKEST


def iris_colour(melanin: Float[ndarray, "*any"]) -> Float[ndarray, "*any 3"]:
    """Linear RGB of an iris: melanin 0 blue, 0.5 green, 1 hazel, 2 brown, 3 dark brown."""
    return IRIS_BASE * np.exp(-np.multiply.outer(melanin, MU_IRIS)) + DARKEST
