// The morphable model on the graphics card. One WebGL2 context serves all figures of a page: each figure's picture is
// drawn here and copied to a canvas of its own, so that a page may have more figures than a browser has contexts.

import { vertices } from "./face_file.js";
import { COLOUR, DEFORM, FULL, MARKS, MOST, NORMALS, PLAIN, SURFACE, WIDE } from "./shaders.js";
import { SH, clipMatrix, transposed } from "./view.js";

const NEAR = 20, FAR = 6000; // mm
export const LOOKS = { skin: 0, albedo: 1, clay: 2, normals: 3, checker: 4, shading: 5, values: 6, photo: 7 };

let shared; // Gpu or null, where there is no WebGL2

/** The page's GPU, or null. */
export function gpu() {
  if (shared === undefined || shared?.lost) shared = Gpu.create();
  return shared;
}

class Gpu {
  static create() {
    const canvas = document.createElement("canvas");
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, powerPreference: "low-power" });
    return gl ? new Gpu(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.canvas = canvas;
    this.gl = gl;
    this.lost = false;
    this.faces = new Map(); // face → its tables
    this.floats = gl.getExtension("EXT_color_buffer_float") !== null; // else vertices are computed on the CPU
    const link = (vertex, fragment) => program(gl, vertex, fragment);
    this.deform = this.floats && link(FULL, DEFORM);
    this.normals = this.floats && link(FULL, NORMALS);
    this.surface = link(SURFACE.replace(/SH(\d)/g, (_, i) => SH[i].toFixed(9)), COLOUR);
    this.marks = link(MARKS, PLAIN);
    this.nothing = gl.createVertexArray();
    this.white = texture(gl, gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 1, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array([255, 255, 255, 255]));
    canvas.addEventListener("webglcontextlost", () => { this.lost = true; }); // the next picture gets a new one
  }

  /** Tables of a face model; the same for all figures that show it. */
  tables(face) {
    if (!this.faces.has(face)) this.faces.set(face, faceTables(this.gl, face));
    return this.faces.get(face);
  }

  /** A picture of `surface`, `view` (as `pinhole` gives it) in device pixels, into the 2D context `target`; with smooth
   *  outlines if `fine`, which costs most of the time where there is no graphics card. */
  draw(target, surface, view, o = {}) {
    const { gl, canvas } = this, { width, height } = view, face = surface.face, t = this.tables(face);
    if (canvas.width < width || canvas.height < height) {
      canvas.width = Math.max(canvas.width, width);
      canvas.height = Math.max(canvas.height, height);
    }
    const smooth = o.fine === false ? null : this.samples();
    gl.bindFramebuffer(gl.FRAMEBUFFER, smooth);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(t.mesh);
    const clip = clipMatrix(view, NEAR, FAR);
    const vertexSet = (p) => {
      ["X", "albedo", "normal"].forEach((name, i) => bind(gl, p, name, i, surface[name]));
      bind(gl, p, "uv", 3, surface.uv ?? t.uv);
      bind(gl, p, "values", 4, surface.values ?? t.uv);
      gl.uniformMatrix4fv(p.clip, false, clip);
      gl.uniform1f(p.morph, o.morph ?? 0);
      gl.uniform1f(p.square, o.square ?? 220);
      gl.uniform3fv(p.middle, o.middle ?? [0, 0, 0]);
    };
    const p = this.surface, look = LOOKS[o.look ?? "skin"];
    gl.useProgram(p.program);
    vertexSet(p);
    gl.uniform1i(p.look, look);
    gl.uniform1i(p.face, face.face);
    gl.uniform1i(p.inverse, o.inverse ? 1 : 0);
    gl.uniform1i(p.reciprocal, o.reciprocal ? 1 : 0);
    gl.uniform1i(p.linearAlbedo, face.linear ? 1 : 0);
    gl.uniform1fv(p["light[0]"], (o.light ?? WHITE).flat());
    const flipped = view.R.map((row, i) => row.map((x) => (i ? -x : x))); // x right, y up, z to the viewer
    gl.uniformMatrix3fv(p.viewer, false, transposed(flipped).flat());
    bind(gl, p, "photo", 5, surface.photo ?? this.white);
    const [low, mid, high] = o.colours ?? [[0.12, 0.44, 0.47], [0.93, 0.92, 0.9], [0.71, 0.33, 0.18]];
    gl.uniform3fv(p.low, low); gl.uniform3fv(p.mid, mid); gl.uniform3fv(p.high, high);
    gl.uniform1f(p.opacity, 1);
    gl.drawElements(gl.TRIANGLES, face.triangles.length, gl.UNSIGNED_INT, 0);
    for (const mark of o.marks ?? []) this.drawMark(mark, t, vertexSet, face);
    if (smooth) {
      gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, null);
      gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
    }
    target.clearRect(0, 0, width, height);
    target.drawImage(canvas, 0, canvas.height - height, width, height, 0, 0, width, height);
  }

  /** A target with several samples to a pixel, as large as the canvas. */
  samples() {
    const { gl, canvas } = this;
    if (this.smooth?.width === canvas.width && this.smooth.height === canvas.height) return this.smooth.frame;
    if (this.smooth) {
      gl.deleteFramebuffer(this.smooth.frame);
      for (const b of this.smooth.buffers) gl.deleteRenderbuffer(b);
    }
    const frame = gl.createFramebuffer(), most = Math.min(4, gl.getParameter(gl.MAX_SAMPLES));
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    const buffers = [[gl.RGBA8, gl.COLOR_ATTACHMENT0], [gl.DEPTH_COMPONENT24, gl.DEPTH_ATTACHMENT]].map(([format, place]) => {
      const buffer = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, buffer);
      gl.renderbufferStorageMultisample(gl.RENDERBUFFER, most, format, canvas.width, canvas.height);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, place, gl.RENDERBUFFER, buffer);
      return buffer;
    });
    this.smooth = { frame, buffers, width: canvas.width, height: canvas.height };
    return frame;
  }

  /** mark = {kind: "edges" | "points", vertices, ink: [r, g, b, a], size}. */
  drawMark(mark, t, vertexSet, face) {
    const gl = this.gl, p = this.marks;
    gl.useProgram(p.program);
    vertexSet(p);
    gl.uniform4fv(p.ink, mark.ink);
    gl.uniform1f(p.size, mark.size ?? 1);
    gl.uniform1f(p.toward, mark.kind === "edges" ? 2e-5 : 4e-4);
    gl.uniform1i(p.round, mark.kind === "points" ? 1 : 0);
    if (mark.kind === "edges") {
      gl.bindVertexArray(t.edges);
      gl.drawElements(gl.LINES, face.edges.length, gl.UNSIGNED_INT, 0);
    } else {
      gl.bindVertexArray(t.points);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, Uint32Array.from(mark.vertices), gl.DYNAMIC_DRAW);
      gl.drawElements(gl.POINTS, mark.vertices.length, gl.UNSIGNED_INT, 0);
    }
    gl.bindVertexArray(t.mesh);
  }
}

const WHITE = [0, 1, 2].map(() => [1 / SH[0], 0, 0, 0, 0, 0, 0, 0, 0]);

/** One figure's face: positions, albedo and normals of all vertices for some coefficients. */
export class Surface {
  constructor(card, face) {
    Object.assign(this, { card, face, gl: card.gl });
    const gl = this.gl, rows = Math.ceil(face.vertices / WIDE);
    this.rows = rows;
    for (const name of ["X", "albedo", "normal"]) {
      this[name] = texture(gl, gl.TEXTURE_2D);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA32F, WIDE, rows);
    }
    if (card.floats) {
      this.deformed = target(gl, this.X, this.albedo);
      this.bent = target(gl, this.normal);
    }
  }

  /** Take on coefficients m = [identity…, expression…] and h. */
  shape(m, h) {
    const { card, face, gl } = this, t = card.tables(face);
    if (!card.floats || face.normal) return this.shapeOnCpu(m, h);
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.SCISSOR_TEST);
    gl.viewport(0, 0, WIDE, this.rows);
    gl.bindVertexArray(card.nothing);
    let p = card.deform;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.deformed);
    gl.useProgram(p.program);
    ["mean", "meanAlbedo", "shape", "albedo"].forEach((name, i) => bind(gl, p, name, i, t[name]));
    for (const [name, count, list] of [["m[0]", "nShape", m], ["h[0]", "nAlbedo", h]]) {
      const some = list.flatMap((x, k) => (x ? [x, k] : []));
      gl.uniform4fv(p[name], Float32Array.from({ length: 2 * MOST }, (_, i) => some[i] ?? 0));
      gl.uniform1i(p[count], some.length / 2);
    }
    gl.uniform1f(p.stepShape, face.steps.shape);
    gl.uniform1f(p.stepAlbedo, face.steps.albedo);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    p = card.normals;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.bent);
    gl.useProgram(p.program);
    bind(gl, p, "X", 0, this.X);
    bind(gl, p, "ring", 1, t.ring);
    gl.uniform1i(p.layers, t.layers);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** The same without float render targets, for vertices X (mm) of one's own, or where the file has its own normals. */
  shapeOnCpu(m, h, X = vertices(this.face, m)) {
    const { face, gl } = this, W = face.vertices;
    const A = Float32Array.from(face.albedoMean);
    h.forEach((x, k) => { for (let i = 0; i < A.length; i++) A[i] += x * face.steps.albedo * face.albedo[k][i]; });
    const put = (name, values) => {
      gl.bindTexture(gl.TEXTURE_2D, this[name]);
      const texels = interleaved(values, W, WIDE * this.rows, 4, Float32Array);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, WIDE, this.rows, gl.RGBA, gl.FLOAT, texels);
    };
    put("X", X);
    put("albedo", A);
    put("normal", face.normal ?? vertexNormals(X, face.triangles, W));
  }

  /** A number for each vertex (look "values"), other texture coordinates, or a photo over them. */
  setValues(values) { this.put("values", values, 1); }
  setUV(uv) { this.put("uv", uv, 2); }
  setPhoto(image) {
    const gl = this.gl;
    this.photo ??= texture(gl, gl.TEXTURE_2D, gl.LINEAR);
    gl.bindTexture(gl.TEXTURE_2D, this.photo);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, image);
  }

  put(name, values, channels) {
    const texels = interleaved(values, values.length / channels, WIDE * this.rows, 4, Float32Array, channels);
    if (this[name]) this.gl.deleteTexture(this[name]);
    this[name] = floatTable(this.gl, texels, this.rows);
  }

  free() {
    const { gl } = this;
    for (const name of ["X", "albedo", "normal", "values", "uv", "photo"]) if (this[name]) gl.deleteTexture(this[name]);
    for (const name of ["deformed", "bent"]) if (this[name]) gl.deleteFramebuffer(this[name]);
  }
}

/** Unit normals (3 W, as positions are laid out): `facenb.normals.vertex_normals`. */
export function vertexNormals(X, triangles, W) {
  const N = new Float32Array(3 * W);
  for (let t = 0; t < triangles.length; t += 3) {
    const [i, j, k] = triangles.subarray(t, t + 3);
    const d = (a, c) => X[c * W + a] - X[c * W + i];
    const [a, b, c, p, q, r] = [d(j, 0), d(j, 1), d(j, 2), d(k, 0), d(k, 1), d(k, 2)];
    const n = [b * r - c * q, c * p - a * r, a * q - b * p];
    for (const v of [i, j, k]) for (let e = 0; e < 3; e++) N[e * W + v] += n[e];
  }
  for (let v = 0; v < W; v++) {
    const length = Math.max(Math.hypot(N[v], N[W + v], N[2 * W + v]), 1e-12);
    for (let e = 0; e < 3; e++) N[e * W + v] /= length;
  }
  return N;
}

function faceTables(gl, face) {
  const W = face.vertices, rows = Math.ceil(W / WIDE), size = WIDE * rows;
  const components = (list) => {
    const array = texture(gl, gl.TEXTURE_2D_ARRAY);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 2);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGB16I, WIDE, rows, Math.max(list.length, 1));
    list.forEach((values, k) => {
      const texels = interleaved(values, W, size, 3, Int16Array);
      gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, k, WIDE, rows, 1, gl.RGB_INTEGER, gl.SHORT, texels);
    });
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    return array;
  };
  if (face.shape.length > MOST || face.albedo.length > MOST) throw new Error(`at most ${MOST} components can be shown`);
  const around = Array.from({ length: W }, () => []);
  for (let t = 0; t < face.triangles.length; t += 3) {
    const [i, j, k] = face.triangles.subarray(t, t + 3);
    around[i].push(j, k); around[j].push(k, i); around[k].push(i, j);
  }
  const layers = Math.max(...around.map((a) => a.length)) / 2;
  const ring = texture(gl, gl.TEXTURE_2D_ARRAY);
  gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RG32UI, WIDE, rows, layers);
  const texels = new Uint32Array(2 * size * layers).fill(0xffffffff);
  around.forEach((list, v) => list.forEach((other, n) => { texels[2 * ((n >> 1) * size + v) + (n & 1)] = other; }));
  gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, 0, WIDE, rows, layers, gl.RG_INTEGER, gl.UNSIGNED_INT, texels);
  const indices = (values) => {
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    if (values) gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    return vao;
  };
  return {
    mean: floatTable(gl, interleaved(face.mean, W, size, 4, Float32Array), rows),
    meanAlbedo: floatTable(gl, interleaved(face.albedoMean, W, size, 4, Float32Array), rows),
    shape: components(face.shape),
    albedo: components(face.albedo),
    uv: floatTable(gl, interleaved(face.uv, W, size, 4, Float32Array, 2), rows),
    ring, layers,
    mesh: indices(face.triangles), edges: indices(face.edges), points: indices(null),
  };
}

function interleaved(values, W, size, channels, Type, given = 3) {
  const texels = new Type(channels * size);
  for (let c = 0; c < given; c++) for (let i = 0; i < W; i++) texels[channels * i + c] = values[c * W + i];
  return texels;
}

function floatTable(gl, texels, rows) {
  const table = texture(gl, gl.TEXTURE_2D);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, WIDE, rows, 0, gl.RGBA, gl.FLOAT, texels);
  return table;
}

function texture(gl, kind, filter = gl.NEAREST) {
  const t = gl.createTexture();
  gl.bindTexture(kind, t);
  for (const f of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(kind, f, filter);
  for (const f of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(kind, f, gl.CLAMP_TO_EDGE);
  return t;
}

function target(gl, ...textures) {
  const frame = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
  const places = textures.map((t, i) => {
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, gl.TEXTURE_2D, t, 0);
    return gl.COLOR_ATTACHMENT0 + i;
  });
  gl.drawBuffers(places);
  return frame;
}

function bind(gl, p, name, unit, texture) {
  if (p[name] === undefined) return;
  const array = ["shape", "ring"].includes(name) || (name === "albedo" && p.nAlbedo !== undefined);
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(array ? gl.TEXTURE_2D_ARRAY : gl.TEXTURE_2D, texture);
  gl.uniform1i(p[name], unit);
}

/** {program, and the place of each of its uniforms}. */
function program(gl, vertex, fragment) {
  const p = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) throw new Error(gl.getShaderInfoLog(shader));
    gl.attachShader(p, shader);
  }
  gl.linkProgram(p);
  if (!gl.getProgramParameter(p, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(p));
  const places = { program: p };
  for (let i = 0; i < gl.getProgramParameter(p, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(p, i);
    places[name] = gl.getUniformLocation(p, name);
  }
  return places;
}
