// The geometry problem (33)–(35) for a handful of points, and the camera in it, equations (19)–(32).

/** P (rows), q and m with P (d x) + q = a + B m in the least-squares sense, plus weight · ‖m‖².
 *
 *  points: [{x, y, d, a: [3], B: [3][Ns]}], pixels and mm. All at once, one dense system of 12 + Ns unknowns. */
export function solveGeometry(points, weight) {
  const n = points.length, Ns = points[0].B[0].length, size = 12 + Ns;
  const mean = (f) => points.reduce((s, p) => s + f(p), 0) / n;
  const x0 = mean((p) => p.x), y0 = mean((p) => p.y), d0 = mean((p) => p.d);
  const spread = Math.sqrt(mean((p) => (p.x - x0) ** 2 + (p.y - y0) ** 2)) || 1;
  const relief = Math.max(Math.sqrt(mean((p) => (p.d - d0) ** 2)), 1e-3 * d0);
  const alpha = 1 / (d0 * spread), beta = 1 / relief; // columns of size one
  const A = Array.from({ length: size }, () => new Float64Array(size)), b = new Float64Array(size);
  for (const p of points) {
    const g = [alpha * p.d * (p.x - x0), alpha * p.d * (p.y - y0), beta * (p.d - d0), 1];
    for (let c = 0; c < 3; c++) {
      const row = new Float64Array(size);
      g.forEach((v, k) => { row[4 * c + k] = v; });
      p.B[c].forEach((v, k) => { row[12 + k] = -v; });
      for (let i = 0; i < size; i++) {
        if (!row[i]) continue;
        b[i] += row[i] * p.a[c];
        for (let j = 0; j <= i; j++) A[i][j] += row[i] * row[j];
      }
    }
  }
  for (let i = 0; i < size; i++) A[i][i] += i < 12 ? 1e-9 * n : weight;
  const u = cholesky(A, b);
  const P = [], q = [];
  for (let c = 0; c < 3; c++) {
    const [t1, t2, t3, t4] = u.subarray(4 * c, 4 * c + 4);
    P.push([alpha * t1, alpha * t2, beta * t3 - alpha * (t1 * x0 + t2 * y0)]);
    q.push(t4 - beta * d0 * t3);
  }
  return { P, q, m: Array.from(u.subarray(12)) };
}

/** K, R, t of an inverse camera: `facenb.camera.decompose`, not strict. */
export function decompose(P, q) {
  const M = inverse(P);
  const sign = Math.sign(determinant(M)) || 1, gamma = sign * Math.hypot(...M[2]);
  const [p1, p2, p3] = M.map((row) => row.map((x) => x / gamma));
  const dot = (a, b) => a.reduce((s, x, i) => s + x * b[i], 0);
  const less = (a, ...pairs) => a.map((x, i) => x - pairs.reduce((s, [k, r]) => s + k * r[i], 0));
  const r3 = p3, k5 = dot(p2, r3), rest2 = less(p2, [k5, r3]), k4 = Math.hypot(...rest2), r2 = rest2.map((x) => x / k4);
  const k3 = dot(p1, r3), k2 = dot(p1, r2), rest1 = less(p1, [k2, r2], [k3, r3]), k1 = Math.hypot(...rest1);
  const R = [rest1.map((x) => x / k1), r2, r3];
  return { K: [[k1, k2, k3], [0, k4, k5], [0, 0, 1]], R, t: R.map((row) => -dot(row, q)) };
}

/** x with A x = b for a symmetric positive definite A, of which the lower half is given and overwritten. */
export function cholesky(A, b) {
  const n = b.length, x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let s = A[i][j];
      for (let k = 0; k < j; k++) s -= A[i][k] * A[j][k];
      A[i][j] = i === j ? Math.sqrt(Math.max(s, 1e-300)) : s / A[j][j];
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i] -= A[i][k] * x[k];
    x[i] /= A[i][i];
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i] -= A[k][i] * x[k];
    x[i] /= A[i][i];
  }
  return x;
}

function determinant([a, b, c]) {
  return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
}

function inverse(M) {
  const det = determinant(M);
  const minor = (i, j) => {
    const [r, s] = [0, 1, 2].filter((k) => k !== i), [c, d] = [0, 1, 2].filter((k) => k !== j);
    return (i + j) % 2 ? M[r][d] * M[s][c] - M[r][c] * M[s][d] : M[r][c] * M[s][d] - M[r][d] * M[s][c];
  };
  return [0, 1, 2].map((i) => [0, 1, 2].map((j) => minor(j, i) / det));
}
