// Figure "by hand": drag the points of a photo, or shake them, and see face, camera and residuals answer.

import { button, group, row, slider, tick } from "./controls.js";
import { shapeCoefficients, vertex } from "./face_file.js";
import { FaceStage } from "./face_stage.js";
import { Frame, make } from "./frame.js";
import { decompose, solveGeometry } from "./linear_solve.js";
import { project, rotation } from "./view.js";

const SIDE = 512; // px of the photo in which the points count
const REACH = 22; // CSS px around a point in which a finger takes it
const DOT = "#d99a2b", TAKEN = "#b5532f", SOLVED = "#1f9e8f";
// landmarks in the order in which more and more of them are used: corners of eyes and mouth, nose, jaw, then all others
const FIRST = [36, 45, 48, 54, 30, 8, 39, 42, 27, 0, 16, 33, 51, 57, 19, 24, 4, 12, 62, 66];

export function byHand({ model, el, face }) {
  const frame = new Frame(el, { wide: true });
  const order = [...FIRST, ...face.landmarks.keys()].filter((k, i, all) => all.indexOf(k) === i);
  const rows = order.map((k) => {
    const i = face.landmarks[k], W = face.vertices;
    return {
      i,
      a: [0, 1, 2].map((c) => face.mean[c * W + i]),
      B: [0, 1, 2].map((c) => face.shape.map((b) => b[c * W + i] * face.steps.shape)),
    };
  });
  const shake = rows.map((_, j) => [0, 1, 2].map((c) => noise(3 * j + c)));
  let moved = rows.map(() => [0, 0]); // px, by hand
  let taken = 0, answer, residuals = true;

  const photo = new FaceStage(frame, model, face, {
    label: "A photo with points on it. Page up and page down choose a point, arrow keys move it.",
    caption: "the photo: drag the points", most: 430, look: () => ({ look: "skin" }),
    turn: (dx, dy, e) => {
      if (e.type !== "keydown") return;
      moved[taken] = [moved[taken][0] + 60 * dx, moved[taken][1] + 60 * dy];
      solve();
    },
  });
  const solved = new FaceStage(frame, answerModel(model), face, {
    label: "The face that was solved for, in clay", caption: "the answer: turn it", most: 430,
    look: () => ({ look: "clay" }),
  });
  const numbers = make("pre", { class: "numbers", "aria-live": "polite" });

  /** What the "camera" delivers of each point: pixel and depth, with the hand's and the noise's part. */
  function observed() {
    const view = photo.view(SIDE, SIDE), m = photo.coefficients();
    return rows.slice(0, model.get("points")).map((r, j) => {
      const [x, y, d] = project(view, vertex(face, r.i, m));
      return {
        ...r, d: d * (1 + (model.get("depth_noise") / 100) * shake[j][2]),
        x: x + moved[j][0] + model.get("noise") * shake[j][0],
        y: y + moved[j][1] + model.get("noise") * shake[j][1],
      };
    });
  }

  function solve() {
    const points = observed();
    answer = solveGeometry(points, 10 ** model.get("prior") * points.length);
    answer.points = points;
    answer.camera = decompose(answer.P, answer.q);
    const own = solved.model;
    own.set("identity", answer.m.slice(0, face.identity));
    own.set("expression", answer.m.slice(face.identity));
    model.set("inverse_camera", answer.P.map((p, c) => [...p, answer.q[c]]));
    model.set("solved", answer.m);
    model.save_changes();
    tell();
    frame.invalidate();
  }

  function tell() {
    const { K, R, t } = answer.camera, view = photo.view(SIDE, SIDE), m = photo.coefficients();
    const off = answer.points.map((p) => {
      const [x, y] = project({ K, R, t }, vertex(face, p.i, answer.m));
      return Math.hypot(x - p.x, y - p.y);
    });
    const rms = Math.sqrt(off.reduce((s, x) => s + x * x, 0) / off.length);
    const error = face.landmarks.reduce((s, i) => {
      const a = vertex(face, i, answer.m), b = vertex(face, i, m);
      return s + Math.hypot(...a.map((x, c) => x - b[c]));
    }, 0) / face.landmarks.length;
    const wrong = rotationAngle(R, rotation(model.get("pose")));
    const line = (name, ...values) => `${name.padEnd(22)}${values.join("  ")}`;
    const f = (x, n = 0) => x.toFixed(n).replace("-", "−").padStart(6);
    numbers.textContent = [
      line("", " found", "  true"),
      line("focal lengths, px", f(K[0][0]), f(view.K[0][0])),
      line("", f(K[1][1]), f(view.K[1][1])),
      line("skew, px", f(K[0][1], 1), f(0, 1)),
      line("principal point, px", f(K[0][2]), f(view.K[0][2])),
      line("", f(K[1][2]), f(view.K[1][2])),
      line("distance, mm", f(Math.hypot(...answer.q)), f(Math.hypot(...view.t))),
      line("turned wrongly by", `${f(wrong, 1)}°`),
      line("residual, px (RMS)", f(rms, 2)),
      line("68 points off by, mm", f(error, 1)),
      line("‖m‖, σ (RMS)", f(Math.sqrt(answer.m.reduce((s, x) => s + x * x, 0) / answer.m.length), 2)),
    ].join("\n");
  }

  photo.over = (context, view, px) => {
    const k = view.width / SIDE, at = (x, y) => [(x + 0.5) * k - 0.5, (y + 0.5) * k - 0.5];
    const { camera, points, m } = answer;
    points.forEach((p, j) => {
      const [x, y] = at(p.x, p.y), [X, Y] = at(...project(camera, vertex(face, p.i, m)));
      if (residuals) { // five times as long as it is
        context.strokeStyle = SOLVED;
        context.lineWidth = 2 * px;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(x + 5 * (X - x), y + 5 * (Y - y));
        context.stroke();
      }
      context.beginPath();
      context.arc(x, y, (j === taken ? 6.5 : 5) * px, 0, 7);
      context.fillStyle = j === taken ? TAKEN : DOT;
      context.fill();
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5 * px;
      context.stroke();
    });
  };

  const { canvas } = photo;
  canvas.style.cursor = "crosshair";
  let held = false;
  const scale = () => SIDE / canvas.clientWidth;
  frame.listen(canvas, "pointerdown", (e) => {
    const x = e.offsetX * scale(), y = e.offsetY * scale();
    const far = answer.points.map((p) => Math.hypot(p.x - x, p.y - y));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] > REACH * scale()) return;
    [taken, held] = [nearest, true];
    canvas.style.touchAction = "none";
    frame.invalidate(canvas);
  });
  frame.listen(canvas, "pointermove", (e) => {
    if (!held) return;
    const p = answer.points[taken];
    moved[taken] = [moved[taken][0] + e.offsetX * scale() - p.x, moved[taken][1] + e.offsetY * scale() - p.y];
    solve();
  });
  for (const end of ["pointerup", "pointercancel"]) frame.listen(canvas, end, () => { held = false; canvas.style.touchAction = "pan-y"; });
  frame.listen(canvas, "touchstart", (e) => { if (held) e.preventDefault(); });
  frame.listen(canvas, "keydown", (e) => {
    const step = { PageDown: 1, PageUp: -1 }[e.key];
    if (!step) return;
    e.preventDefault();
    taken = (taken + step + answer.points.length) % answer.points.length;
    frame.say(`Point ${taken + 1} of ${answer.points.length}.`);
    frame.invalidate(canvas);
  });

  const entry = (key, name, min, max, step, digits, unit, title) => {
    const s = slider(frame, name, {
      min, max, step, digits, unit, title, value: model.get(key),
      set: (x) => { model.set(key, x); model.save_changes(); },
    });
    model.on(`change:${key}`, () => { s.put(model.get(key)); taken = Math.min(taken, model.get("points") - 1); solve(); });
    return s;
  };
  const somebody = () => {
    let seed = Math.floor(1e6 * Math.random());
    const draw = (n, size) => Array.from({ length: n }, () => size * noise(seed++));
    moved = rows.map(() => [0, 0]);
    model.set("expression", draw(face.expression, 0.5));
    model.set("albedo", draw(face.albedo.length, 0.8));
    model.set("identity", draw(face.identity, 0.9));
    model.save_changes();
  };
  for (const k of ["identity", "expression", "pose", "camera"]) model.on(`change:${k}`, solve);
  frame.panel.append(
    group("Noise and belief",
      entry("noise", "noise of pixels", 0, 8, 0.1, 1, " px"),
      entry("depth_noise", "noise of depth", 0, 3, 0.05, 2, " %"),
      entry("prior", "prior of the face", -3, 3, 0.1, 1, "", "ten to this power: mm² for each point and squared standard deviation"),
      entry("points", "points", 6, face.landmarks.length, 1, 0, ""),
      row(tick(frame, "residuals, five times as long", true, (v) => { residuals = v; frame.invalidate(canvas); }))),
    group("The answer", numbers,
      row(button(frame, "Put the points back", () => { moved = rows.map(() => [0, 0]); solve(); }),
        button(frame, "Another person", somebody))),
  );
  solve();
  return () => { frame.free(); photo.free(); solved.free(); };
}

/** The answer's face has a model of its own: same light and camera, a pose that the reader turns. */
function answerModel(model) {
  const own = { identity: [], expression: [], albedo: [], pose: [...model.get("pose")] }, heard = {};
  return {
    get: (k) => own[k] ?? model.get(k),
    set: (k, v) => { own[k] = v; for (const f of heard[`change:${k}`] ?? []) f(); },
    on: (event, f) => (heard[event] ??= []).push(f),
    save_changes() {},
  };
}

/** Degrees between two rotations. */
function rotationAngle(A, B) {
  const trace = A.reduce((s, row, i) => s + row.reduce((q, a, j) => q + a * B[i][j], 0), 0);
  return (Math.acos(Math.min(Math.max((trace - 1) / 2, -1), 1)) * 180) / Math.PI;
}

/** The k-th of a fixed row of normal numbers: the same noise at every touch. */
function noise(k) {
  const uniform = (i) => { const s = Math.sin(12.9898 * i + 78.233) * 43758.5453; return s - Math.floor(s); };
  return Math.sqrt(-2 * Math.log(1 - uniform(2 * k + 1))) * Math.cos(2 * Math.PI * uniform(2 * k + 2));
}
