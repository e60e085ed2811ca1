// Figure "flattening": a face and the square it is laid out on; point at one, and see the place on the other.

import { button, choice, group, row, slider } from "./controls.js";
import { shapeCoefficients, vertices } from "./face_file.js";
import { FaceStage } from "./face_stage.js";
import { Frame, make } from "./frame.js";
import { density, insideWhich, texelsOf, unpacked } from "./layout_tables.js";
import { pinhole, project } from "./view.js";

const SQUARE = 220; // mm, the side of the square beside the face
const LOOKS = { checker: "chessboard", skin: "skin", values: "texels per mm²" };
const SPOTS = { "tip of the nose": 30, "corner of the eye": 36, "corner of the mouth": 48, "upper lip": 51, chin: 8, eyebrow: 19 };
const INK = "#b5532f";

export function flattening({ model, el, face }) {
  const frame = new Frame(el, { wide: true });
  const W = face.vertices, options = { most: 430, least: 200 };
  const layouts = Object.fromEntries(Object.entries(model.get("layouts")).map(([k, text]) => [k, unpacked(text, Uint16Array, 65535)]));
  const regions = Object.fromEntries(Object.entries(model.get("regions")).map(([k, text]) => [k, unpacked(text, Uint8Array, 255)]));
  let uv = Float32Array.from(layouts[model.get("weights")]), look = "checker";
  let mark = { t: 0, b: [1 / 3, 1 / 3, 1 / 3] }, X;

  const left = new FaceStage(frame, model, face, {
    ...options, label: "The face in space. Arrow keys turn it.", caption: "the face: drag to turn, point to find",
    look: () => ({ look, morph: model.get("morph"), square: SQUARE }),
  });
  left.view = (width, height) => {
    const m = model.get("morph"), [f, d, cx, cy] = model.get("camera");
    const fits = (0.94 * d) / SQUARE;
    return pinhole(model.get("pose").map((a) => (1 - m) * a), [(1 - m) * f + m * fits, d, (1 - m) * cx, (1 - m) * cy], left.middle, width, height);
  };
  const right = new FaceStage(frame, model, face, {
    ...options, label: "The square. Arrow keys move the point.", caption: "the square (u, v): point at it",
    look: () => ({ look, morph: 1, square: SQUARE }),
    turn: (dx, dy, e) => { if (e.type === "keydown") place(at()[0] + 0.5 * dx, at()[1] + 0.5 * dy); },
  });
  right.view = (width, height) => pinhole([0, 0, 0], [(0.94 * 4000) / SQUARE, 4000, 0, 0], right.middle, width, height);
  for (const stage of [left, right]) stage.prepare = dress;
  const table = make("pre", { class: "numbers", "aria-live": "polite" });
  const found = make("p", { class: "remark", "aria-live": "polite" });

  const corners = (t) => Array.from(face.triangles.subarray(3 * t, 3 * t + 3));
  /** (u, v) of the mark. */
  const at = () => [0, 1].map((c) => corners(mark.t).reduce((s, v, k) => s + mark.b[k] * uv[c * W + v], 0));
  /** A vertex in space (mm), as the left stage shows it. */
  const shownAt = (v) => {
    const m = model.get("morph"), flat = [SQUARE * (uv[v] - 0.5), SQUARE * (0.5 - uv[W + v]), 0];
    return [0, 1, 2].map((c) => (1 - m) * X[c * W + v] + m * (left.middle[c] + flat[c]));
  };

  function dress(surface) {
    surface.setUV(uv);
    surface.setValues(density(face, uv, X ?? face.mean));
  }

  /** Put the mark at (u, v) of the square. */
  function place(u, v) {
    const clamp = (x) => Math.min(Math.max(x, 0.001), 0.999);
    const hit = insideWhich(face.triangles, (i) => [uv[i], uv[W + i]], clamp(u), clamp(v));
    if (hit) { mark = hit; tell(); }
  }

  /** Put the mark where the left stage shows the face, under a pixel. */
  function point(x, y) {
    const view = left.shown;
    if (!view) return;
    const seen = Array.from({ length: W }, (_, v) => project(view, shownAt(v)));
    const hit = insideWhich(face.triangles, (i) => seen[i], x, y);
    if (hit) { mark = hit; tell(); }
  }

  for (const [stage, act] of [[left, point], [right, (x, y, s) => {
    const side = 0.94 * s.height;
    place((x - (s.width - side) / 2) / side, (y - (s.height - side) / 2) / side);
  }]]) {
    for (const kind of ["pointerdown", "pointermove"]) {
      frame.listen(stage.canvas, kind, (e) => {
        if (kind === "pointermove" && stage === left && e.buttons) return; // that turns the face
        const k = stage.canvas.width / stage.canvas.clientWidth;
        act(e.offsetX * k, e.offsetY * k, stage.canvas);
      });
    }
  }

  const ring = (context, [x, y], px, hidden) => {
    for (const [width, colour] of [[4.5, "#fff"], [2.2, INK]]) {
      context.lineWidth = width * px;
      context.strokeStyle = colour;
      context.globalAlpha = hidden ? 0.4 : 1;
      context.beginPath();
      context.arc(x, y, 9 * px, 0, 7);
      context.stroke();
    }
    context.globalAlpha = 1;
  };
  const mixed = (values) => [0, 1, 2].map((c) => values.reduce((s, p, k) => s + mark.b[k] * p[c], 0));
  left.over = (context, view, px) => {
    const p = corners(mark.t).map((v) => project(view, shownAt(v)));
    const turned = (p[1][0] - p[0][0]) * (p[2][1] - p[0][1]) - (p[1][1] - p[0][1]) * (p[2][0] - p[0][0]);
    ring(context, mixed(p), px, turned > 0); // counterclockwise from outside, y down: negative in front
  };
  right.over = (context, view, px) => {
    const [u, v] = at();
    ring(context, project(view, [0, 1, 2].map((c) => right.middle[c] + [SQUARE * (u - 0.5), SQUARE * (0.5 - v), 0][c])), px, false);
  };

  function tell() {
    const [u, v] = at(), [x, y, z] = mixed(corners(mark.t).map((i) => [X[i], X[W + i], X[2 * W + i]]));
    const f = (n, digits) => n.toFixed(digits).replace(/^-0$/, "0").replace("-", "−");
    found.textContent = `The point: u = ${f(u, 3)}, v = ${f(v, 3)}; x = ${f(x, 0)}, y = ${f(y, 0)}, z = ${f(z, 0)} mm.`;
    frame.invalidate();
  }

  function count() {
    const N = model.get("texels"), counts = texelsOf(face, uv, regions, N);
    const all = N * N, line = (name, n) => `${name.padEnd(8)}${n.toLocaleString("en").padStart(9)}${((100 * n) / all).toFixed(1).padStart(7)} %`;
    table.textContent = [`texels on   of ${all.toLocaleString("en")}`, ...Object.entries(counts).map(([k, n]) => line(k, n))].join("\n");
  }

  function reshape() {
    X = vertices(face, shapeCoefficients(face, model.get("identity"), model.get("expression")));
    relay();
  }
  function relay() {
    for (const s of [left, right]) dress(s.surface);
    tell();
  }
  /** Slide from the layout that is shown to the one that is wanted. */
  function travel() {
    const from = uv, to = layouts[model.get("weights")];
    weights.put(model.get("weights"));
    frame.animate((t) => {
      uv = from.map((x, i) => (1 - t) * x + t * to[i]);
      relay();
      if (t === 1) count();
    }, 700);
  }

  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const names = Object.fromEntries(Object.keys(layouts).map((k) => [k, k]));
  const weights = choice(frame, "weights", names, model.get("weights"), (k) => set("weights", k));
  const morph = slider(frame, "flattened", {
    min: 0, max: 1, step: 0.01, digits: 2, value: model.get("morph"), set: (x) => set("morph", x),
  });
  const size = slider(frame, "texels along a side", {
    min: 32, max: 512, step: 16, digits: 0, value: model.get("texels"), set: (x) => set("texels", x),
  });
  const flip = button(frame, "flatten, or fold back", () => {
    const from = model.get("morph"), to = from < 0.5 ? 1 : 0;
    frame.animate((t) => set("morph", from + t * (to - from)), 1400);
  });
  const spots = choice(frame, "go to", { "": "go to …", ...Object.fromEntries(Object.keys(SPOTS).map((k) => [k, k])) }, "", (k) => {
    if (!k) return;
    const v = face.landmarks[SPOTS[k]], t = Math.floor(face.triangles.indexOf(v) / 3);
    mark = { t, b: corners(t).map((i) => (i === v ? 1 : 0)) };
    tell();
    frame.say(`${k}: ${found.textContent}`);
  });
  model.on("change:weights", travel);
  model.on("change:texels", () => { size.put(model.get("texels")); count(); });
  model.on("change:morph", () => { morph.put(model.get("morph")); frame.invalidate(); });
  for (const k of ["identity", "expression"]) model.on(`change:${k}`, reshape);
  frame.panel.append(
    group("Layout", row("weights", weights), morph, row(flip)),
    group("Show", row(choice(frame, "surface", LOOKS, look, (k) => { look = k; frame.invalidate(); }), spots), found),
    group("Texels", size, table));
  reshape();
  place(0.5, 0.5);
  count();
  return () => { frame.free(); left.free(); right.free(); };
}
