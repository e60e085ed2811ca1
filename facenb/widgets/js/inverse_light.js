// The reciprocal of a light in nine numbers: `facenb.lighting.inverse_light` with the weight "shading".

import { cholesky } from "./linear_solve.js";
import { harmonics } from "./view.js";

/** n unit vectors on the even spiral of `facenb.lighting.sphere_points`. */
export function spherePoints(n) {
  return Array.from({ length: n }, (_, i) => {
    const z = 1 - (2 * i + 1) / n, angle = i * Math.PI * (3 - Math.sqrt(5)), r = Math.sqrt(1 - z * z);
    return [r * Math.cos(angle), r * Math.sin(angle), z];
  });
}

export const shadingAt = (row, n) => harmonics(n).reduce((s, y, k) => s + y * row[k], 0);

/** g (3 × 9) with F g ≈ 1 / (F l), least in ‖s (F g) − 1‖² over the directions; null where a shading is not positive. */
export function inverseLight(light, directions) {
  const Y = directions.map(harmonics);
  const rows = light.map((l) => {
    const A = Array.from({ length: 9 }, () => new Float64Array(9)), b = new Float64Array(9);
    for (const y of Y) {
      const s = y.reduce((sum, v, k) => sum + v * l[k], 0);
      if (s <= 0) return null;
      for (let i = 0; i < 9; i++) {
        b[i] += s * y[i];
        for (let j = 0; j <= i; j++) A[i][j] += s * s * y[i] * y[j];
      }
    }
    return Array.from(cholesky(A, b));
  });
  return rows.includes(null) ? null : rows;
}
