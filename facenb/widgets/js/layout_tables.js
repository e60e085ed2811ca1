// Arithmetic on a layout: which triangle lies where, how many texels a region gets, how dense they are.

const EVEN = 6; // a density so many times that of an even layout is at the end of the colours

/** base64 of little-endian whole numbers → Float32Array in [0, 1]. */
export function unpacked(text, Type, most) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Type(bytes.buffer), (x) => x / most);
}

/** The triangle that covers (x, y), the nearest one where positions have a depth, and barycentrics; or null. */
export function insideWhich(triangles, position, x, y) {
  let best = null, nearest = Infinity;
  for (let t = 0; t < triangles.length / 3; t++) {
    const [p, q, r] = [0, 1, 2].map((k) => position(triangles[3 * t + k]));
    if (x < Math.min(p[0], q[0], r[0]) || x > Math.max(p[0], q[0], r[0]) || y < Math.min(p[1], q[1], r[1]) || y > Math.max(p[1], q[1], r[1])) continue;
    const b = barycentrics(p, q, r, x, y);
    if (!b) continue;
    const depth = b[0] * (p[2] ?? 0) + b[1] * (q[2] ?? 0) + b[2] * (r[2] ?? 0);
    if (depth < nearest) { nearest = depth; best = { t, b }; }
  }
  return best;
}

function barycentrics(p, q, r, x, y) {
  const cross = (a, b) => (a[0] - x) * (b[1] - y) - (a[1] - y) * (b[0] - x);
  const e = [cross(q, r), cross(r, p), cross(p, q)], total = e[0] + e[1] + e[2];
  if (total === 0 || e.some((v) => v * total < 0)) return null;
  return e.map((v) => v / total);
}

/** Texels of N × N whose centre lies in each region (weight above ½), as `facenb.uv_model.texels_per_region`. */
export function texelsOf(face, uv, regions, N) {
  const W = face.vertices, T = face.triangles, counts = Object.fromEntries(Object.keys(regions).map((k) => [k, 0]));
  for (let t = 0; t < T.length; t += 3) {
    const c = [T[t], T[t + 1], T[t + 2]];
    if (c.some((v) => v >= face.face)) continue; // the dark of the mouth
    const p = c.map((v) => [uv[v] * N - 0.5, uv[W + v] * N - 0.5]);
    const range = [0, 1].map((k) => [Math.ceil(Math.min(...p.map((a) => a[k]))), Math.floor(Math.max(...p.map((a) => a[k])))]);
    for (let y = range[1][0]; y <= range[1][1]; y++) {
      for (let x = range[0][0]; x <= range[0][1]; x++) {
        const b = barycentrics(...p, x, y);
        if (!b) continue;
        for (const [name, weight] of Object.entries(regions)) {
          if (b[0] * weight[c[0]] + b[1] * weight[c[1]] + b[2] * weight[c[2]] > 0.5) counts[name]++;
        }
      }
    }
  }
  return counts;
}

/** Texels per mm² at the vertices against an even spread: log, −1 for EVEN times fewer, 1 for EVEN times more. */
export function density(face, uv, X) {
  const W = face.vertices, T = face.triangles, flat = new Float32Array(W), curved = new Float32Array(W);
  let total = 0;
  for (let t = 0; t < T.length; t += 3) {
    const [i, j, k] = T.subarray(t, t + 3);
    if (i >= face.face || j >= face.face || k >= face.face) continue;
    const d = (table, c, a) => table[c * W + a] - table[c * W + i];
    const area = Math.abs(d(uv, 0, j) * d(uv, 1, k) - d(uv, 1, j) * d(uv, 0, k)) / 2;
    const [a, b] = [j, k].map((v) => [0, 1, 2].map((c) => d(X, c, v)));
    const mm = Math.hypot(a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]) / 2;
    for (const v of [i, j, k]) { flat[v] += area; curved[v] += mm; }
    total += mm;
  }
  return flat.map((f, v) => (curved[v] ? Math.log((f / curved[v]) * total + 1e-9) / Math.log(EVEN) : 0));
}
