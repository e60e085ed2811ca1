"""From what is seen to light on the sensor: albedo × (sky + lamps · shadow) + gloss, in linear light.

Nine samples of a pixel say *what* it sees; light is computed only once for each part among them, at the samples' mean
point, normal and colour. A part's light changes little across a pixel, but its outline has to be smooth: what graphics
cards call multisampling.

The sky of spherical harmonics lights a point as far as its surroundings leave it open (`occlusion`), a lamp as far as
its shadow map says. Skin is lit a little beyond the terminator in red, as light that travels under it does. Gloss is
Blinn and Phong's, plus the sky itself mirrored with Schlick's Fresnel factor.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from facenb.lighting import SH_CONSTANTS

C0, C1, C2, C20, C22 = (np.float32(c) for c in SH_CONSTANTS)
_DISPLAY = np.linspace(0, 1, 1024)
# `facenb.colour.to_linear` as a table: a power for each channel would cost more than all the rest
LINEAR = np.where(_DISPLAY <= 0.04045, _DISPLAY / 12.92, ((_DISPLAY + 0.055) / 1.055) ** 2.4).astype(np.float32)
VERTEX = 11  # numbers about a vertex: see `expose`
MOST_PARTS = 6  # different parts in a pixel; more are lumped with the last
WET = (np.float32(0.3), np.float32(120.0))  # specular and exponent of an eye
LID_SHADE = np.float32(0.3)  # what lids and lashes take from its light
F0, F1, F2 = np.float32(0), np.float32(1), np.float32(2)


class Eye(NamedTuple):
    """Who looks. place: the camera in model coordinates; pixel: its side at the head (mm); turn: model → viewer."""

    place: np.ndarray
    pixel: np.float32
    turn: np.ndarray


class Lit(NamedTuple):
    """What lights: a sky (3, 9) in viewer coordinates, and L lamps in model coordinates with their shadow maps.

    directions, colours (L, 3); sizes (L,) in mm; maps (L, S, S) and frames (L, 3, 3) as `shadow_map` takes them, around
    `centre` (3,) with `scale` texels per mm.
    """

    sky: np.ndarray
    directions: np.ndarray
    colours: np.ndarray
    sizes: np.ndarray
    maps: np.ndarray
    frames: np.ndarray
    centre: np.ndarray
    scale: np.float32


@numba.njit(cache=True, fastmath=True)
def noise(x, y, z):
    """Smooth noise in [−1, 1] with a grid of one unit (value noise, trilinear)."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
    i, j, k = np.int32(fx), np.int32(fy), np.int32(fz)
    total = F0
    for dz in range(2):
        a = np.uint32((k + dz) * 83492791)
        pz = w if dz else F1 - w
        for dy in range(2):
            b = a ^ np.uint32((j + dy) * 19349663)
            py = pz * (v if dy else F1 - v)
            for dx in range(2):
                h = b ^ np.uint32((i + dx) * 73856093)
                h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
                h = h ^ (h >> np.uint32(16))
                total += np.float32(h & np.uint32(0xFFFF)) * py * (u if dx else F1 - u)
    return total * np.float32(2 / 65535) - F1


@numba.njit(cache=True, fastmath=True)
def lamp_seen(depth, x, y, z, bias, spread):
    """Share of a lamp seen from (x, y) of its shadow map at height z: 3 × 3 comparisons, `spread` texels apart."""
    S = depth.shape[0]
    seen = F0
    for dy in range(-1, 2):
        i = min(max(int(y + dy * spread + np.float32(0.5)), 0), S - 1)
        for dx in range(-1, 2):
            j = min(max(int(x + dx * spread + np.float32(0.5)), 0), S - 1)
            gap = depth[i, j] - z - bias
            seen += min(max(F1 - gap * np.float32(0.5), F0), F1)
    return seen * np.float32(1 / 9)


@numba.njit(cache=True, fastmath=True)
def sky_light(l, x, y, z):
    """Σ l_i Y_i at the unit vector (x, y, z): `facenb.lighting.sh_basis` for one channel."""
    return (
        C0 * l[0]
        + C1 * (l[1] * y + l[2] * z + l[3] * x)
        + C2 * (l[4] * x * y + l[5] * y * z + l[7] * x * z)
        + C20 * l[6] * (np.float32(3) * z * z - F1)
        + C22 * l[8] * (x * x - y * y)
    )


@numba.njit(cache=True, fastmath=True)
def _shade(p, material, eye, light, out):
    """Linear colour of one surface element p, a row of V (see `expose`), into `out` (3,)."""
    x, y, z, nx, ny, nz = p[0], p[1], p[2], p[3], p[4], p[5]
    specular, exponent, grain = material[0], material[1], material[2]
    grid, strands, under = material[3], material[4], material[5]
    turn, sky, scale = eye.turn, light.sky, light.scale
    tone = F1
    if p[10] > 0:
        tone -= LID_SHADE * p[10]
        specular += p[10] * (WET[0] - specular)
        exponent += p[10] * (WET[1] - exponent)
    if grain > 0:
        f = F1 / max(grid, eye.pixel)  # finer than a pixel it would only sparkle
        g = f / strands
        n = noise(x * f, y * g, z * f)
        tone += grain * np.float32(1.7) * n
        if strands > 1:  # they turn the normal, too
            nx += np.float32(0.4) * n * min(grid / eye.pixel, F1)
    f = F1 / math.sqrt(max(nx * nx + ny * ny + nz * nz, np.float32(1e-12)))
    nx, ny, nz = nx * f, ny * f, nz * f
    ex, ey, ez = eye.place[0] - x, eye.place[1] - y, eye.place[2] - z
    f = F1 / math.sqrt(ex * ex + ey * ey + ez * ez)
    ex, ey, ez = ex * f, ey * f, ez * f
    facing = max(nx * ex + ny * ey + nz * ez, F0)
    vx = turn[0, 0] * nx + turn[0, 1] * ny + turn[0, 2] * nz
    vy = turn[1, 0] * nx + turn[1, 1] * ny + turn[1, 2] * nz
    vz = turn[2, 0] * nx + turn[2, 1] * ny + turn[2, 2] * nz
    mx, my, mz = F2 * facing * nx - ex, F2 * facing * ny - ey, F2 * facing * nz - ez
    rx = turn[0, 0] * mx + turn[0, 1] * my + turn[0, 2] * mz
    ry = turn[1, 0] * mx + turn[1, 1] * my + turn[1, 2] * mz
    rz = turn[2, 0] * mx + turn[2, 1] * my + turn[2, 2] * mz
    graze = F1 - facing
    mirror = specular * (np.float32(0.04) + np.float32(0.4) * graze * graze * graze * graze * graze)
    d0, d1, d2 = F0, F0, F0  # light from lamps, diffuse
    g0, g1, g2 = F0, F0, F0  # and mirrored
    for q in range(light.directions.shape[0]):
        lx, ly, lz = light.directions[q, 0], light.directions[q, 1], light.directions[q, 2]
        cosine = nx * lx + ny * ly + nz * lz
        if cosine <= -under:
            continue
        px, py, pz = x - light.centre[0], y - light.centre[1], z - light.centre[2]
        F = light.frames[q]
        middle = np.float32(0.5) * np.float32(light.maps.shape[1] - 1)
        u = (F[0, 0] * px + F[0, 1] * py + F[0, 2] * pz) * scale + middle
        v = (F[1, 0] * px + F[1, 1] * py + F[1, 2] * pz) * scale + middle
        w = F[2, 0] * px + F[2, 1] * py + F[2, 2] * pz
        spread = max(light.sizes[q] * scale, np.float32(0.7))
        steep = math.sqrt(max(F1 - cosine * cosine, F0)) / max(cosine, np.float32(0.25))
        seen = lamp_seen(light.maps[q], u, v, w, np.float32(1.5) + np.float32(1.3) * spread / scale * steep, spread)
        if seen <= 0:
            continue
        red = max((cosine + under) / (F1 + under), F0)
        plain = max(cosine, F0)
        d0 += light.colours[q, 0] * seen * red
        d1 += light.colours[q, 1] * seen * (np.float32(0.7) * plain + np.float32(0.3) * red)
        d2 += light.colours[q, 2] * seen * (np.float32(0.85) * plain + np.float32(0.15) * red)
        if cosine > 0 and specular > 0:
            hx, hy, hz = lx + ex, ly + ey, lz + ez
            f = F1 / math.sqrt(max(hx * hx + hy * hy + hz * hz, np.float32(1e-6)))
            h = max((nx * hx + ny * hy + nz * hz) * f, np.float32(1e-3))
            shine = seen * specular * (exponent + 8) * np.float32(0.04) * math.exp(exponent * math.log(h)) * cosine
            g0 += light.colours[q, 0] * shine
            g1 += light.colours[q, 1] * shine
            g2 += light.colours[q, 2] * shine
    for c in range(3):
        at = min(max(p[6 + c] * tone, F0), F1) * np.float32(1023)
        index = min(int(at), 1022)
        albedo = LINEAR[index] + (at - np.float32(index)) * (LINEAR[index + 1] - LINEAR[index])
        diffuse = max(sky_light(sky[c], vx, vy, vz), np.float32(0.03) * C0 * sky[c, 0]) * p[9]
        l = sky[c]
        mirrored = max(C0 * l[0] + C1 * (l[1] * ry + l[2] * rz + l[3] * rx), F0) * p[9] * mirror
        diffuse += d0 if c == 0 else (d1 if c == 1 else d2)
        out[c] = albedo * diffuse + mirrored + (g0 if c == 0 else (g1 if c == 1 else g2))


@numba.njit(cache=True, fastmath=True)
def expose(triangle, barycentric, T, V, part_of, material, as_skin, eye, light, behind, radiance, skin):
    """Linear light in each pixel into `radiance` (H, W, 3), and how many of its samples are skin into `skin` (H, W).

    V (V, 11): position, normal, sRGB colour, openness and wetness of the vertices; part_of (n,): part of each triangle;
    material (parts, 6): specular, exponent, grain and its grid (mm), how much longer it is upwards (strands), light
    under the skin; as_skin (parts,): 1 or 0; behind (H, W, 3): linear light where nothing is.
    """
    H, W = radiance.shape[:2]
    k = triangle.shape[0] // H
    place = eye.place
    sums = np.zeros((MOST_PARTS, VERTEX), np.float32)
    counts = np.zeros(MOST_PARTS, np.int32)
    parts = np.zeros(MOST_PARTS, np.int32)
    p = np.zeros(VERTEX, np.float32)
    colour = np.zeros(3, np.float32)
    for row in range(H):
        for column in range(W):
            groups, free, on_skin = 0, 0, 0
            for y in range(row * k, row * k + k):
                for x in range(column * k, column * k + k):
                    t = triangle[y, x]
                    if t < 0:
                        free += 1
                        continue
                    part = part_of[t]
                    on_skin += as_skin[part]
                    g = 0
                    while g < groups and parts[g] != part:
                        g += 1
                    if g == groups:
                        if groups == MOST_PARTS:
                            g -= 1
                        else:
                            groups += 1
                            parts[g], counts[g] = part, 0
                            sums[g, :] = 0
                    i, j, m = T[t, 0], T[t, 1], T[t, 2]
                    b0, b1 = barycentric[y, x, 0], barycentric[y, x, 1]
                    b2 = F1 - b0 - b1
                    for c in range(VERTEX):
                        p[c] = b0 * V[i, c] + b1 * V[j, c] + b2 * V[m, c]
                    if p[3] * (place[0] - p[0]) + p[4] * (place[1] - p[1]) + p[5] * (place[2] - p[2]) < 0:
                        p[3], p[4], p[5] = -p[3], -p[4], -p[5]  # the inside of a shell
                    for c in range(VERTEX):
                        sums[g, c] += p[c]
                    counts[g] += 1
            r0, r1, r2 = free * behind[row, column, 0], free * behind[row, column, 1], free * behind[row, column, 2]
            for g in range(groups):
                f = F1 / np.float32(counts[g])
                for c in range(VERTEX):
                    p[c] = sums[g, c] * f
                _shade(p, material[parts[g]], eye, light, colour)
                r0 += counts[g] * colour[0]
                r1 += counts[g] * colour[1]
                r2 += counts[g] * colour[2]
            f = F1 / np.float32(k * k)
            radiance[row, column, 0], radiance[row, column, 1], radiance[row, column, 2] = r0 * f, r1 * f, r2 * f
            skin[row, column] = on_skin
