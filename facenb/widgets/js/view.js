// Rotations, cameras and light in the package's own conventions (`facenb.rotation`, `.camera`, `.lighting`).
// Matrices are arrays of rows.

/** R (model → camera) of a head turned by yaw, pitch and roll: FRONTAL · R_y · R_x · R_z, radians. */
export function rotation([yaw, pitch, roll]) {
  const [a, b, c] = [yaw, pitch, roll].map(Math.cos), [p, q, r] = [yaw, pitch, roll].map(Math.sin);
  const Ry = [[a, 0, p], [0, 1, 0], [-p, 0, a]];
  const Rx = [[1, 0, 0], [0, b, -q], [0, q, b]];
  const Rz = [[c, -r, 0], [r, c, 0], [0, 0, 1]];
  return product([[1, 0, 0], [0, -1, 0], [0, 0, -1]], product(Ry, product(Rx, Rz)));
}

export const product = (A, B) => A.map((row) => B[0].map((_, j) => row.reduce((s, a, k) => s + a * B[k][j], 0)));
export const times = (A, x) => A.map((row) => row.reduce((s, a, k) => s + a * x[k], 0));
export const transposed = (A) => A[0].map((_, j) => A.map((row) => row[j]));

/** K, R, t for a picture of width × height pixels.
 *  camera = [focal length / height, distance of `middle` (mm), principal point's offset / height, x and y]. */
export function pinhole(pose, [focal, distance, cx, cy], middle, width, height) {
  const f = focal * height;
  const K = [[f, 0, (width - 1) / 2 + cx * height], [0, f, (height - 1) / 2 + cy * height], [0, 0, 1]];
  const R = rotation(pose);
  const m = times(R, middle);
  return { K, R, t: [-m[0], -m[1], distance - m[2]], width, height };
}

/** Pixel (x, y) and depth z (mm) of X (mm, model coordinates). */
export function project({ K, R, t }, X) {
  const U = times(R, X).map((x, i) => x + t[i]);
  const p = times(K, U);
  return [p[0] / U[2], p[1] / U[2], U[2]];
}

/** Column-major 4 × 4 matrix from model coordinates to WebGL's clip space. Pixel centres are whole numbers. */
export function clipMatrix({ K, R, t, width, height }, near, far) {
  const Rt = R.map((row, i) => [...row, t[i]]);
  const rows = product(K, Rt); // x z, y z, z
  const z = rows[2];
  const x = rows[0].map((a, j) => (2 * a + z[j]) / width - z[j]);
  const y = rows[1].map((a, j) => z[j] - (2 * a + z[j]) / height);
  const depth = z.map((a, j) => ((far + near) * a - (j === 3 ? 2 * far * near : 0)) / (far - near));
  return transposed([x, y, depth, z]).flat();
}

// Real orthonormal spherical harmonics up to order 2; see `facenb.lighting.SH_CONSTANTS`.
export const SH = [1 / (4 * Math.PI), 3 / (4 * Math.PI), 15 / (4 * Math.PI), 5 / (16 * Math.PI), 15 / (16 * Math.PI)].map(
  Math.sqrt,
);

/** The nine harmonics at a unit vector, as `facenb.lighting.sh_basis`. */
export function harmonics([x, y, z]) {
  const [a, b, c, d, e] = SH;
  return [a, b * y, b * z, b * x, c * x * y, c * y * z, d * (3 * z * z - 1), c * x * z, e * (x * x - y * y)];
}

/** Light (3 rows of 9) of a distant lamp plus a white sky, as `facenb.lighting.lamp`; `direction` towards the lamp. */
export function lamp(direction, colour, ambient) {
  const length = Math.hypot(...direction);
  const order = [0, 1, 1, 1, 2, 2, 2, 2, 2], clamped = [Math.PI, (2 * Math.PI) / 3, Math.PI / 4];
  const Y = harmonics(direction.map((x) => x / length));
  return colour.map((c, i) => Y.map((y, k) => c * clamped[order[k]] * y + (k ? 0 : ambient[i] / SH[0])));
}
