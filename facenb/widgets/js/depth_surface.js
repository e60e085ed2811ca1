// A face that is a depth map: lit as `facenb.depth_light` does, moved and drawn as `facenb.restore.warp` does, in plain
// JavaScript, because eight thousand triangles need no graphics card. S × S pixels, depth in distances to the face.

import { rotation } from "./view.js";

const HALF_FIELD = (5 * Math.PI) / 180; // of the camera that made the depth map
export const BACKGROUND = 1.03; // depth from where on it is not the face; see `facenb.restore.depth_mesh`

const focal = (size) => size / 2 / Math.tan(HALF_FIELD);

/** Base64 of bytes. */
export const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/** The surface in a face's data: depth (16 bits between 0.9 and 1.1) and albedo (8 bits, pixel by pixel). */
export function surface(depthText, albedoText, size) {
  const coded = new Uint16Array(bytes(depthText).buffer), albedo = bytes(albedoText);
  const depth = Float64Array.from(coded, (x) => 0.9 + (0.2 * x) / 65535);
  const triangles = [];
  const face = (...corners) => { if (corners.some((i) => depth[i] < BACKGROUND)) triangles.push(...corners); };
  for (let y = 0; y + 1 < size; y++) {
    for (let x = 0; x + 1 < size; x++) {
      const i = y * size + x;
      face(i, i + size, i + 1);
      face(i + 1, i + size, i + size + 1);
    }
  }
  return { size, depth, albedo, triangles };
}

/** Points behind the pixels, camera coordinates, three numbers each; `relief` multiplies how far depth is from 1. */
export function points({ size, depth }, relief) {
  const X = new Float64Array(3 * depth.length), f = focal(size), c = (size - 1) / 2;
  for (let i = 0; i < depth.length; i++) {
    const d = 1 + relief * (depth[i] - 1);
    X.set([((i % size) - c) / f * d, (Math.floor(i / size) - c) / f * d, d], 3 * i);
  }
  return X;
}

/** Shading of every point: ambient + diffuse · max(0, n·l), l = (x, y, 1)/‖·‖ in the head's own axes. */
export function shading(X, size, [ambient, diffuse, x, y]) {
  const S = new Float64Array(size * size), length = Math.hypot(x, y, 1);
  const difference = (i, before, after, step) => {
    const a = before ? i - step : i, b = after ? i + step : i, n = +before + +after;
    return [0, 1, 2].map((k) => (X[3 * b + k] - X[3 * a + k]) / n);
  };
  for (let i = 0; i < S.length; i++) {
    const column = i % size, row = Math.floor(i / size);
    const right = difference(i, column > 0, column < size - 1, 1), down = difference(i, row > 0, row < size - 1, size);
    const n = [ // down × right, then from the camera's axes to the head's
      down[1] * right[2] - down[2] * right[1],
      -(down[2] * right[0] - down[0] * right[2]),
      -(down[0] * right[1] - down[1] * right[0]),
    ];
    const cosine = (n[0] * x + n[1] * y + n[2]) / (length * Math.hypot(...n));
    S[i] = ambient + diffuse * Math.max(0, cosine);
  }
  return S;
}

/** A picture of n × n pixels (RGBA bytes, empty beside the face) of the surface in a view and a light. */
export function draw(face, n, { pose, shift = [0, 0], relief = 1, light, lit = true }) {
  const { size, depth, albedo, triangles } = face;
  const X = points(face, relief), S = lit ? shading(X, size, light) : null;
  const R = rotation(pose).map((r) => [r[0], -r[1], -r[2]]); // camera → camera
  const f = focal(n), c = (n - 1) / 2, P = new Float64Array(X.length);
  for (let i = 0; i < X.length; i += 3) {
    const v = [X[i], X[i + 1], X[i + 2] - 1];
    const [x, y, z] = R.map((r) => r[0] * v[0] + r[1] * v[1] + r[2] * v[2]);
    const Z = z + 1;
    P.set([f * (x + shift[0]) / Z + c, f * (y + shift[1]) / Z + c, 1 / Z], i);
  }
  const picture = new Uint8ClampedArray(4 * n * n), nearest = new Float64Array(n * n);
  for (let t = 0; t < triangles.length; t += 3) {
    const corners = [triangles[t], triangles[t + 1], triangles[t + 2]];
    const [[ax, ay, az], [bx, by, bz], [cx, cy, cz]] = corners.map((i) => [P[3 * i], P[3 * i + 1], P[3 * i + 2]]);
    const area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax);
    if (area >= 0) continue; // seen from behind
    const left = Math.max(0, Math.ceil(Math.min(ax, bx, cx))), right = Math.min(n - 1, Math.floor(Math.max(ax, bx, cx)));
    const top = Math.max(0, Math.ceil(Math.min(ay, by, cy))), bottom = Math.min(n - 1, Math.floor(Math.max(ay, by, cy)));
    const [i, j, k] = corners, [s, u, v] = S ? [S[i], S[j], S[k]] : [1, 1, 1];
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const q = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) / area;
        const r = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) / area;
        const w = 1 - q - r;
        if (q < 0 || r < 0 || w < 0) continue;
        if (q * depth[i] + r * depth[j] + w * depth[k] >= BACKGROUND) continue; // a smooth end, not that of the grid
        const near = q * az + r * bz + w * cz, at = y * n + x; // 1 / depth
        if (near <= nearest[at]) continue;
        nearest[at] = near;
        for (let m = 0; m < 3; m++) {
          picture[4 * at + m] = q * s * albedo[3 * i + m] + r * u * albedo[3 * j + m] + w * v * albedo[3 * k + m];
        }
        picture[4 * at + 3] = 255;
      }
    }
  }
  return picture;
}
