// A face model as `facenb.widgets.face_file` wrote it: the same integers on every machine.

const NEIGHBOURS = 3;

/** Bytes → {vertices W, face V, triangles, uv, mean, shape, albedoMean, albedo, …header}.
 *
 *  mean, albedoMean: Float32Array(3 W), x of all vertices, then y, then z.
 *  shape, albedo: one Int16Array(3 W) for each component, in steps of `steps.shape` mm and `steps.albedo`.
 *  normal: unit vectors laid out as `mean`, or undefined: those of the surface. */
export async function readFace(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const file = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(file.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(file.subarray(4, 4 + length)));
  const W = header.vertices;
  let at = 4 + length;
  const rows = {};
  for (const [name, count, n] of header.fields) {
    rows[name] = Array.from({ length: count }, (_, i) => fromPlanes(file, at + 3 * n * i, n));
    at += 3 * n * count;
  }
  const triangles = Uint32Array.from(runningSum(rows.triangles[0]));
  const before = neighboursBefore(triangles, W);
  for (const [name, list] of Object.entries(rows)) if (name !== "triangles") for (const row of list) addExpected(row, before);
  const components = (name) =>
    Array.from({ length: (rows[name] ?? []).length / 3 }, (_, k) => joined(rows[name].slice(3 * k, 3 * k + 3)));
  const [mean, ...shape] = components("shape");
  const [albedoMean = new Int32Array(3 * W), ...albedo] = components("albedo");
  const [normal] = components("normal");
  return {
    ...header,
    triangles,
    edges: edgesOf(triangles, header.face),
    uv: Float32Array.from(joined(rows.uv), (x) => x * header.steps.uv), // u of all vertices, then v
    mean: Float32Array.from(mean, (x) => x * header.steps.shape),
    albedoMean: Float32Array.from(albedoMean, (x) => x * (header.steps.albedo ?? 0)),
    normal: normal && Float32Array.from(normal, (x) => x * header.steps.normal), // where they are not the surface's own
    shape: shape.map((x) => Int16Array.from(x)),
    albedo: albedo.map((x) => Int16Array.from(x)),
  };
}

/** X (mm) of one vertex for coefficients m = [identity…, expression…] in the file's order, on the CPU. */
export function vertex(face, i, m) {
  const W = face.vertices;
  return [0, 1, 2].map((c) => {
    let x = 0;
    for (let k = 0; k < m.length; k++) if (m[k]) x += m[k] * face.shape[k][c * W + i];
    return face.mean[c * W + i] + x * face.steps.shape;
  });
}

/** All vertices (mm), as `mean` is laid out. */
export function vertices(face, m) {
  const X = Float32Array.from(face.mean);
  for (let k = 0; k < m.length; k++) {
    const f = m[k] * face.steps.shape, B = face.shape[k];
    if (f) for (let i = 0; i < X.length; i++) X[i] += f * B[i];
  }
  return X;
}

/** [identity…, expression…] in the file's order from two lists that may be shorter or longer. */
export function shapeCoefficients(face, identity, expression) {
  const take = (list, n) => Array.from({ length: n }, (_, k) => list[k] ?? 0);
  return [...take(identity, face.identity), ...take(expression, face.expression)];
}

function fromPlanes(file, at, n) {
  const row = new Int32Array(n);
  for (let i = 0; i < n; i++) {
    const z = file[at + i] | (file[at + n + i] << 8) | (file[at + 2 * n + i] << 16);
    row[i] = z & 1 ? -((z + 1) >> 1) : z >> 1;
  }
  return row;
}

function runningSum(row) {
  for (let i = 1; i < row.length; i++) row[i] += row[i - 1];
  return row;
}

function neighboursBefore(triangles, W) {
  const near = new Int32Array(NEIGHBOURS * W).fill(-1); // falling
  const put = (a, b) => {
    if (b >= a) return;
    let at = NEIGHBOURS * a;
    const end = at + NEIGHBOURS;
    while (at < end && near[at] > b) at++;
    if (at === end || near[at] === b) return;
    near.copyWithin(at + 1, at, end - 1);
    near[at] = b;
  };
  for (let t = 0; t < triangles.length; t += 3) {
    const [i, j, k] = triangles.subarray(t, t + 3);
    put(i, j); put(j, i); put(j, k); put(k, j); put(k, i); put(i, k);
  }
  return near;
}

function addExpected(row, near) {
  for (let v = 0; v < row.length; v++) {
    let sum = 0, n = 0;
    for (let at = NEIGHBOURS * v; n < NEIGHBOURS && near[at + n] >= 0; n++) sum += row[near[at + n]];
    if (n) row[v] += Math.floor((2 * sum + n) / (2 * n));
  }
}

function joined(rows) {
  const all = new Int32Array(rows.length * rows[0].length);
  rows.forEach((row, c) => all.set(row, c * row.length));
  return all;
}

function edgesOf(triangles, V) {
  const seen = new Set(), edges = [];
  for (let t = 0; t < triangles.length; t++) {
    const a = triangles[t], b = triangles[t % 3 === 2 ? t - 2 : t + 1];
    const low = Math.min(a, b), high = Math.max(a, b);
    const key = low * 0x200000 + high;
    if (high < V && !seen.has(key)) seen.add(key), edges.push(low, high);
  }
  return Uint32Array.from(edges);
}
