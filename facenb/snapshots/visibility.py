"""What each sample of a snapshot sees: one z-buffer for all parts of a head, and shadow maps from the lamps' side.

`facenb.rasterise` answers the same question exactly, for one surface, in float64. A snapshot asks it of some fifty
thousand small triangles, some of them half transparent like the tips of hair, and several times per picture, so here it
is asked in a simpler way, and with an *alpha test*. Transparency is drawn by lot: of a pixel's nine samples a part of
opacity α covers a share of α, and the mean makes it smooth. No sorting, any number of layers, the same answer every
time.

Conventions: pixels and depth as in `facenb.rasterise`, but counted in samples, and depth as its reciprocal: 1/z is
linear on the screen, and needs a division per vertex only. 0 = too near, or nothing there.
"""

import math

import numba
import numpy as np

FLOAT = np.float32
NEAR = FLOAT(20)  # mm; a triangle with a nearer vertex is dropped whole
ROUNDING = FLOAT(1e-3)  # mm; more than single precision can lift a point of a shadow map above its triangle


@numba.njit(cache=True)
def _floor(x):
    """⌊x⌋ as an integer, for x above −4096 (below it, something below zero): one instruction, unlike math.floor."""
    return int(max(x + FLOAT(4096), FLOAT(0))) - 4096


@numba.njit(cache=True)
def _ceil(x):
    return -_floor(-x)


@numba.njit(cache=True)
def project(V, K, R, t, samples, out):
    """Points V[:, :3] in model coordinates → (x, y) in samples (`samples` to a pixel each way) and 1/z, into `out`."""
    middle = FLOAT(0.5) * (samples - 1)  # the centre of pixel 0 is the middle of its samples
    for v in range(V.shape[0]):
        x, y, z = V[v, 0], V[v, 1], V[v, 2]
        c0 = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z + t[0]
        c1 = R[1, 0] * x + R[1, 1] * y + R[1, 2] * z + t[1]
        c2 = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z + t[2]
        w = FLOAT(1) / max(c2, NEAR)
        out[v, 0] = samples * ((K[0, 0] * c0 + K[0, 1] * c1) * w + K[0, 2]) + middle
        out[v, 1] = samples * (K[1, 1] * c1 * w + K[1, 2]) + middle
        out[v, 2] = w if c2 > NEAR else FLOAT(0)


@numba.njit(cache=True)
def lot(x, y, k, part):
    """The number in [0, 1) that sample (x, y) draws for a part.

    The k × k samples of a pixel draw one number from each k²-th of the interval, so that a part of opacity α covers a
    share of α of them, but for rounding; which sample draws which, and the rounding, is decided by a hash.
    """
    x, y, k = np.uint32(x), np.uint32(y), np.uint32(k)  # no signs, and 32 bits: division is what costs here
    column, row = x // k, y // k
    h = column * np.uint32(374761393) + row * np.uint32(668265263)
    h += np.uint32(part) * np.uint32(2246822519)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(2654435761)
    h ^= h >> np.uint32(15)
    turn, rest = h & np.uint32(0xFF), (h >> np.uint32(8)) & np.uint32(0xFFFF)
    stratum = (np.uint32(4) * (x - k * column + k * (y - k * row)) + turn) % (k * k)  # 4 and 9 have no common divisor
    return (np.float32(stratum) + np.float32(rest) / np.float32(65536)) / np.float32(k * k)


@numba.njit(cache=True, error_model="numpy")
def draw(P, T, part_of, closed, alpha, samples, triangle, barycentric, nearest):
    """Draw triangles T (n, 3) of projected vertices P (V, 3) with opacities alpha (V,) into the sample arrays.

    Of parts that are `closed` only the outside is drawn. triangle (H, W) int32, −1 = none; barycentric (H, W, 2), the
    first two perspective-correct ones; nearest (H, W), 1/z, to be given as zeros; `samples` to a pixel each way.

    Most triangles are as small as a few samples, and most samples of the later parts lie behind the earlier ones, so
    what can be skipped before the edge functions are evaluated decides how long it takes.
    """
    H, W = triangle.shape
    T = T.view(np.uint32)  # indices that cannot be negative need no check for it
    for t in range(T.shape[0]):
        i, j, k = T[t, 0], T[t, 1], T[t, 2]
        x0, y0, x1, y1, x2, y2 = P[i, 0], P[i, 1], P[j, 0], P[j, 1], P[k, 0], P[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (area > 0 and closed[part_of[t]]):  # turns its back; y points down
            continue
        first_x, last_x = max(_ceil(min(x0, x1, x2)), 0), min(_floor(max(x0, x1, x2)), W - 1)
        if first_x > last_x:
            continue
        first_y, last_y = max(_ceil(min(y0, y1, y2)), 0), min(_floor(max(y0, y1, y2)), H - 1)
        if first_y > last_y:
            continue
        w0, w1, w2 = P[i, 2], P[j, 2], P[k, 2]
        if w0 == 0 or w1 == 0 or w2 == 0:
            continue
        a0, a1, a2 = alpha[i], alpha[j], alpha[k]
        if a0 == 0 and a1 == 0 and a2 == 0:
            continue
        opaque = a0 >= 1 and a1 >= 1 and a2 >= 1
        # edge functions A x + B y + C, in double precision: the same edge must give its two triangles the same answer
        A0, B0, C0 = np.float64(y1 - y2), np.float64(x2 - x1), np.float64(x1) * y2 - np.float64(x2) * y1
        A1, B1, C1 = np.float64(y2 - y0), np.float64(x0 - x2), np.float64(x2) * y0 - np.float64(x0) * y2
        A2, B2, C2 = np.float64(y0 - y1), np.float64(x1 - x0), np.float64(x0) * y1 - np.float64(x1) * y0
        f = 1 / (C0 + C1 + C2)
        # no sample is nearer than the nearest corner, but for what rounded barycentrics sum to beyond one
        excess = (abs(A0 + A1 + A2) * W + abs(B0 + B1 + B2) * H + 1e-5) * abs(f)
        ceiling = max(w0, w1, w2) * (1 + excess)
        row = np.float64(first_y)  # x and y as floats
        for y in range(first_y, last_y + 1):
            r0, r1, r2 = B0 * row + C0, B1 * row + C1, B2 * row + C2
            row += 1.0
            column = first_x - 1.0
            for x in range(first_x, last_x + 1):
                column += 1.0
                if ceiling <= nearest[y, x]:
                    continue
                l0, l1, l2 = (A0 * column + r0) * f, (A1 * column + r1) * f, (A2 * column + r2) * f
                if (l0 < 0) | (l1 < 0) | (l2 < 0):  # one jump instead of three, none of which could be foreseen
                    continue
                b0, b1, b2 = l0 * w0, l1 * w1, l2 * w2
                w = b0 + b1 + b2
                if w <= nearest[y, x]:
                    continue
                if not opaque and lot(x, y, samples, part_of[t]) * w >= b0 * a0 + b1 * a1 + b2 * a2:
                    continue
                nearest[y, x] = w
                triangle[y, x] = t
                barycentric[y, x, 0] = b0 / w
                barycentric[y, x, 1] = b1 / w


@numba.njit(cache=True, error_model="numpy")
def shadow_map(V, T, part_of, closed, alpha, to_lamp, centre, scale, depth):
    """How far towards a distant lamp the nearest surface reaches, into `depth` (S, S), to be given as −1e9.

    The square map has `scale` texels per mm around `centre`; `to_lamp` (3, 3) has the map's right, its up (rows count
    upwards) and the direction to the lamp as rows. Depth is measured along the last, in mm from the centre.
    """
    S = depth.shape[0]
    T = T.view(np.uint32)
    middle = FLOAT(0.5) * FLOAT(S - 1)
    L = np.empty((V.shape[0], 3), np.float32)
    for v in range(V.shape[0]):
        x, y, z = V[v, 0] - centre[0], V[v, 1] - centre[1], V[v, 2] - centre[2]
        L[v, 0] = (to_lamp[0, 0] * x + to_lamp[0, 1] * y + to_lamp[0, 2] * z) * scale + middle
        L[v, 1] = (to_lamp[1, 0] * x + to_lamp[1, 1] * y + to_lamp[1, 2] * z) * scale + middle
        L[v, 2] = to_lamp[2, 0] * x + to_lamp[2, 1] * y + to_lamp[2, 2] * z
    for t in range(T.shape[0]):
        i, j, k = T[t, 0], T[t, 1], T[t, 2]
        x0, y0, x1, y1, x2, y2 = L[i, 0], L[i, 1], L[j, 0], L[j, 1], L[k, 0], L[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0 or (area < 0 and closed[part_of[t]]):
            continue
        first_x, last_x = max(_ceil(min(x0, x1, x2)), 0), min(_floor(max(x0, x1, x2)), S - 1)
        if first_x > last_x:
            continue
        first_y, last_y = max(_ceil(min(y0, y1, y2)), 0), min(_floor(max(y0, y1, y2)), S - 1)
        if first_y > last_y:
            continue
        opacity = min(alpha[i], alpha[j], alpha[k])
        if opacity <= 0:
            continue
        f = FLOAT(1) / area
        ceiling = max(L[i, 2], L[j, 2], L[k, 2]) + ROUNDING
        for y in range(first_y, last_y + 1):
            d0, d1, d2 = y0 - FLOAT(y), y1 - FLOAT(y), y2 - FLOAT(y)
            px = FLOAT(first_x) - FLOAT(1)
            for x in range(first_x, last_x + 1):
                px += FLOAT(1)
                if ceiling <= depth[y, x]:
                    continue
                l0 = ((x1 - px) * d2 - (x2 - px) * d1) * f
                l1 = ((x2 - px) * d0 - (x0 - px) * d2) * f
                l2 = FLOAT(1) - l0 - l1
                if (l0 < 0) | (l1 < 0) | (l2 < 0):
                    continue
                z = l0 * L[i, 2] + l1 * L[j, 2] + l2 * L[k, 2]
                if z > depth[y, x] and (opacity >= 1 or lot(x, y, 3, part_of[t]) < opacity):
                    depth[y, x] = z


@numba.njit(cache=True)
def normals(X, T, out):
    """Area-weighted unit vertex normals into `out` (V, 3): `facenb.normals.vertex_normals` in plain loops."""
    out[:] = 0
    for t in range(T.shape[0]):
        i, j, k = T[t, 0], T[t, 1], T[t, 2]
        ax, ay, az = X[j, 0] - X[i, 0], X[j, 1] - X[i, 1], X[j, 2] - X[i, 2]
        bx, by, bz = X[k, 0] - X[i, 0], X[k, 1] - X[i, 1], X[k, 2] - X[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(X.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            out[v] /= FLOAT(length)
