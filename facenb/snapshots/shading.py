"""From what is seen to light on the sensor: albedo × (sky + lamps · shadow) + gloss, for each sample, in linear light.

The sky of spherical harmonics lights a point as far as its surroundings leave it open (`occlusion`); a lamp as far as
its shadow map says. Skin is lit a little beyond the terminator in red, as light that travels under it does. Gloss is
Blinn and Phong's, plus the sky itself mirrored with Schlick's Fresnel factor.
"""

import math

import numba
import numpy as np

from facenb.lighting import SH_CONSTANTS

C0, C1, C2, C20, C22 = (np.float32(c) for c in SH_CONSTANTS)
LINEAR = np.where(
    np.linspace(0, 1, 1024) <= 0.04045,
    np.linspace(0, 1, 1024) / 12.92,
    ((np.linspace(0, 1, 1024) + 0.055) / 1.055) ** 2.4,
).astype(
    np.float32
)  # `facenb.colour.to_linear` as a table: a power per sample and channel would cost more than all else


@numba.njit(cache=True)
def _noise(x, y, z):
    """Smooth noise in [−1, 1] with a grid of one unit (value noise, trilinear)."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    u, v, w = np.float32(x - fx), np.float32(y - fy), np.float32(z - fz)
    u, v, w = u * u * (3 - 2 * u), v * v * (3 - 2 * v), w * w * (3 - 2 * w)
    i, j, k = int(fx), int(fy), int(fz)
    total = np.float32(0)
    for c in range(8):
        dx, dy, dz = c & 1, (c >> 1) & 1, c >> 2
        h = np.uint32((i + dx) * 73856093) ^ np.uint32((j + dy) * 19349663) ^ np.uint32((k + dz) * 83492791)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
        h = h ^ (h >> np.uint32(16))
        value = np.float32(h & np.uint32(0xFFFF)) * np.float32(2 / 65535) - 1
        total += value * (u if dx else 1 - u) * (v if dy else 1 - v) * (w if dz else 1 - w)
    return total


@numba.njit(cache=True)
def _lit(depth, x, y, z, bias, spread):
    """Share of a lamp seen from (x, y) of its shadow map at height z: 3 × 3 comparisons, `spread` texels apart."""
    S = depth.shape[0]
    seen = np.float32(0)
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            i = min(max(int(y + dy * spread + 0.5), 0), S - 1)
            j = min(max(int(x + dx * spread + 0.5), 0), S - 1)
            gap = depth[i, j] - z - bias
            seen += 1 if gap <= 0 else (1 - gap / 2 if gap < 2 else 0)
    return seen / 9


@numba.njit(cache=True, error_model="numpy", fastmath=True)
def shade_samples(
    triangle, barycentric, T, X, N, colour, occlusion, part_of, material, eye, turn, sky, lamps, lamp_colour, size,
    maps, frames, centre, radius, out,
):  # fmt: skip
    """Linear colours of all samples that see a triangle, into `out` (H, W, 3).

    part_of (n,): part of each triangle; material (parts, 5): specular, exponent, noise, noise grid (mm) and how much
    longer it is upwards (strands), subsurface. eye: the camera in model coordinates; turn: model → viewer. lamps (L, 3)
    in model coordinates with their shadow maps (L, S, S), frames (L, 3, 3) as `shadow_map` takes them.
    """
    H, W = triangle.shape
    S = maps.shape[1]
    scale = np.float32(0.5 * S / radius)
    a = np.empty(3, np.float32)
    s = np.empty(3, np.float32)
    g = np.empty(3, np.float32)
    for row in range(H):
        for column in range(W):
            t = triangle[row, column]
            if t < 0:
                continue
            i, j, k = T[t, 0], T[t, 1], T[t, 2]
            b0, b1 = barycentric[row, column, 0], barycentric[row, column, 1]
            b2 = 1 - b0 - b1
            x = b0 * X[i, 0] + b1 * X[j, 0] + b2 * X[k, 0]
            y = b0 * X[i, 1] + b1 * X[j, 1] + b2 * X[k, 1]
            z = b0 * X[i, 2] + b1 * X[j, 2] + b2 * X[k, 2]
            nx = b0 * N[i, 0] + b1 * N[j, 0] + b2 * N[k, 0]
            ny = b0 * N[i, 1] + b1 * N[j, 1] + b2 * N[k, 1]
            nz = b0 * N[i, 2] + b1 * N[j, 2] + b2 * N[k, 2]
            open_ = b0 * occlusion[i] + b1 * occlusion[j] + b2 * occlusion[k]
            m = part_of[t]
            ex, ey, ez = eye[0] - x, eye[1] - y, eye[2] - z
            f = 1 / math.sqrt(ex * ex + ey * ey + ez * ez)
            ex, ey, ez = ex * f, ey * f, ez * f
            if material[m, 2] > 0:
                grid = material[m, 3]
                n = _noise(x / grid, y / (grid * material[m, 4]), z / grid)
                n += 0.5 * _noise(2.7 * x / grid + 11.3, 2.7 * y / (grid * material[m, 4]), 2.7 * z / grid)
                tone = 1 + material[m, 2] * n
                if material[m, 4] > 1:  # strands turn the normal, too
                    nx += 0.4 * n
            else:
                tone = np.float32(1)
            f = nx * nx + ny * ny + nz * nz
            f = 1 / math.sqrt(f) if f > 1e-12 else 0.0
            nx, ny, nz = nx * f, ny * f, nz * f
            facing = nx * ex + ny * ey + nz * ez
            if facing < 0:  # the inside of a shell
                nx, ny, nz, facing = -nx, -ny, -nz, -facing
            for c in range(3):
                value = (b0 * colour[i, c] + b1 * colour[j, c] + b2 * colour[k, c]) * tone
                at = min(max(value, 0), 1) * 1023
                index = min(int(at), 1022)
                a[c] = LINEAR[index] + (at - index) * (LINEAR[index + 1] - LINEAR[index])
            # the sky, at the normal and mirrored
            vx = turn[0, 0] * nx + turn[0, 1] * ny + turn[0, 2] * nz
            vy = turn[1, 0] * nx + turn[1, 1] * ny + turn[1, 2] * nz
            vz = turn[2, 0] * nx + turn[2, 1] * ny + turn[2, 2] * nz
            mx, my, mz = 2 * facing * nx - ex, 2 * facing * ny - ey, 2 * facing * nz - ez
            rx = turn[0, 0] * mx + turn[0, 1] * my + turn[0, 2] * mz
            ry = turn[1, 0] * mx + turn[1, 1] * my + turn[1, 2] * mz
            rz = turn[2, 0] * mx + turn[2, 1] * my + turn[2, 2] * mz
            fresnel = 1 - facing
            fresnel = material[m, 0] * (0.04 + 0.4 * fresnel * fresnel * fresnel * fresnel * fresnel)
            for c in range(3):
                l = sky[c]
                e = (
                    C0 * l[0]
                    + C1 * (l[1] * vy + l[2] * vz + l[3] * vx)
                    + C2 * (l[4] * vx * vy + l[5] * vy * vz + l[7] * vx * vz)
                    + C20 * l[6] * (3 * vz * vz - 1)
                    + C22 * l[8] * (vx * vx - vy * vy)
                )
                s[c] = max(e, 0.03 * C0 * l[0]) * open_
                mirrored = C0 * l[0] + C1 * (l[1] * ry + l[2] * rz + l[3] * rx)
                g[c] = max(mirrored, 0) * open_ * fresnel
            for q in range(lamps.shape[0]):
                lx, ly, lz = lamps[q, 0], lamps[q, 1], lamps[q, 2]
                cosine = nx * lx + ny * ly + nz * lz
                wrap = material[m, 5]
                if cosine <= -wrap:
                    continue
                px, py, pz = x - centre[0], y - centre[1], z - centre[2]
                F = frames[q]
                u = (F[0, 0] * px + F[0, 1] * py + F[0, 2] * pz) * scale + 0.5 * (S - 1)
                v = (F[1, 0] * px + F[1, 1] * py + F[1, 2] * pz) * scale + 0.5 * (S - 1)
                w = F[2, 0] * px + F[2, 1] * py + F[2, 2] * pz
                spread = max(size[q] * scale, 0.7)
                bias = 1.5 + (spread / scale) * 1.3 * math.sqrt(max(1 - cosine * cosine, 0)) / max(cosine, 0.25)
                seen = _lit(maps[q], u, v, w, bias, spread)
                red = max((cosine + wrap) / (1 + wrap), 0)
                plain = max(cosine, 0)
                half = 0.0
                if cosine > 0 and material[m, 0] > 0:
                    hx, hy, hz = lx + ex, ly + ey, lz + ez
                    f = 1 / math.sqrt(hx * hx + hy * hy + hz * hz)
                    h = max((nx * hx + ny * hy + nz * hz) * f, 0)
                    p = material[m, 1]
                    half = material[m, 0] * (p + 8) * 0.04 * h**p * cosine
                s[0] += lamp_colour[q, 0] * seen * red
                s[1] += lamp_colour[q, 1] * seen * (0.7 * plain + 0.3 * red)
                s[2] += lamp_colour[q, 2] * seen * (0.85 * plain + 0.15 * red)
                for c in range(3):
                    g[c] += lamp_colour[q, c] * seen * half
            for c in range(3):
                out[row, column, c] = a[c] * s[c] + g[c]


@numba.njit(cache=True)
def resolve(samples, triangle, behind, k, out):
    """Mean of the k × k samples of each pixel, laid over the picture `behind` (H, W, 3) where samples see nothing."""
    H, W = out.shape[:2]
    for y in range(H):
        for x in range(W):
            r, g, b, n = np.float32(0), np.float32(0), np.float32(0), 0
            for j in range(y * k, y * k + k):
                for i in range(x * k, x * k + k):
                    if triangle[j, i] >= 0:
                        r += samples[j, i, 0]
                        g += samples[j, i, 1]
                        b += samples[j, i, 2]
                        n += 1
            free = np.float32(k * k - n)
            f = np.float32(1 / (k * k))
            out[y, x, 0] = (r + free * behind[y, x, 0]) * f
            out[y, x, 1] = (g + free * behind[y, x, 1]) * f
            out[y, x, 2] = (b + free * behind[y, x, 2]) * f
