// Figure "camera": focal length against distance, the camera seen from the side, and its numbers.

import { button, group, row, slider, tick } from "./controls.js";
import { vertex } from "./face_file.js";
import { FaceStage } from "./face_stage.js";
import { Frame, make } from "./frame.js";
import { pinhole, product, project, times, transposed } from "./view.js";

const SIDE = 512; // px of the picture that the numbers speak of
const SENSOR = 24; // mm, its height
const NEAREST = 20, FARTHEST = 300; // cm
const LONGEST = 400; // mm of focal length
const ASIDE = 5500; // mm from which the camera is watched
const PLACES = { "at arm's length": 40, "a portrait": 120, "across the room": 300, "much too near": 22 };
const LINES = [[0, 16], [17, 21], [22, 26], [27, 30], [31, 35], [36, 41, 36], [42, 47, 42], [48, 59, 48]]; // landmarks
const CLAY = "#b5532f", TEAL = "#1f9e8f";

export function camera({ model, el, face }) {
  const frame = new Frame(el, { wide: true });
  let ghost = true;

  const photo = new FaceStage(frame, model, face, {
    label: "The photo that this camera takes", caption: "the photo: drag to turn the head", most: 430, look: () => ({ look: "skin" }),
  });
  const aside = new FaceStage(frame, model, face, {
    label: "Camera, field of view and face, seen from the side. Left and right arrow keys move the camera.",
    caption: "from the side: drag the camera", most: 430, look: () => ({ look: "clay" }),
    turn: (dx) => step(model.get("camera")[1] - dx * (model.get("camera")[1] + 200)),
  });
  aside.view = watched;
  const numbers = make("pre", { class: "numbers", "aria-live": "polite" });
  const remark = make("p", { class: "remark", "aria-live": "polite" });

  const put = (camera) => { model.set("camera", camera); model.save_changes(); };
  /** Move the camera to a distance (mm); while the size is held, zoom in by as much as it steps back. */
  function step(distance) {
    const [f, d, cx, cy] = model.get("camera");
    const to = Math.min(Math.max(distance, 10 * NEAREST), 10 * FARTHEST);
    put([model.get("hold") ? (f * to) / d : f, to, cx, cy]);
  }
  function zoom(focal) {
    const [f, d, cx, cy] = model.get("camera");
    const to = focal / SENSOR;
    put([to, model.get("hold") ? (d * to) / f : d, cx, cy]);
  }

  /** The view of somebody who stands at the camera's right and sees all of it: camera coordinates (x, y, z) → (z, y, −x). */
  function watched(width, height) {
    const view = photo.view(width, height), d = model.get("camera")[1];
    const turned = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]];
    const low = -0.1 * (d + 250), high = d + 170, focal = (0.97 * width * ASIDE) / (high - low);
    const t = times(turned, view.t);
    const K = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]];
    return { K, R: product(turned, view.R), t: [t[0] - (low + high) / 2, t[1], t[2] + ASIDE], width, height };
  }

  photo.over = (context, view, px) => {
    const { width, height } = view, [, d, cx, cy] = model.get("camera");
    const x = (width - 1) / 2 + cx * height, y = (height - 1) / 2 + cy * height;
    context.strokeStyle = CLAY;
    context.lineWidth = 1.5 * px;
    cross(context, x, y, 7 * px);
    if (!ghost) return;
    const far = 40, [f] = model.get("camera"); // the same size from so many times as far
    const distant = pinhole(model.get("pose"), [f * far, d * far, cx, cy], photo.middle, width, height), m = photo.coefficients();
    context.strokeStyle = TEAL;
    context.lineWidth = 1.6 * px;
    context.setLineDash([4 * px, 3 * px]);
    for (const [first, last, back] of LINES) {
      const points = Array.from({ length: last - first + 1 }, (_, k) => first + k).concat(back ?? []);
      path(context, points.map((k) => project(distant, vertex(face, face.landmarks[k], m))));
    }
    context.setLineDash([]);
  };

  aside.over = (context, side, px) => {
    const view = photo.view(SIDE, SIDE), d = model.get("camera")[1], deep = d + 120;
    const { K } = view, Rt = transposed(view.R);
    const space = (X) => times(Rt, X.map((x, i) => x - view.t[i])); // camera → model coordinates
    const seen = (X) => project(side, space(X));
    const ray = (x, y, z) => seen([((x - K[0][2]) / K[0][0]) * z, ((y - K[1][2]) / K[1][1]) * z, z]);
    const middle = (SIDE - 1) / 2, ends = [-0.5, SIDE - 0.5];
    const [top, bottom] = ends.map((y) => ray(middle, y, deep)), eye = seen([0, 0, 0]);
    context.fillStyle = "#1f9e8f2e";
    context.beginPath();
    for (const [x, y] of [eye, top, bottom]) context.lineTo(x, y);
    context.fill();
    context.strokeStyle = TEAL;
    context.lineWidth = 1.5 * px;
    path(context, [top, eye, bottom]);
    context.setLineDash([5 * px, 4 * px]);
    context.strokeStyle = CLAY;
    path(context, [eye, seen([0, 0, deep])]); // the optical axis
    context.setLineDash([]);
    const near = 0.12 * (d + 250); // where the picture is drawn into the cone
    const plane = ends.map((y) => ray(middle, y, near));
    context.lineWidth = 3 * px;
    context.strokeStyle = CLAY;
    path(context, plane);
    const r = 6 * px;
    context.fillStyle = CLAY;
    context.beginPath();
    context.roundRect(eye[0] - 3 * r, eye[1] - 1.3 * r, 3 * r, 2.6 * r, r / 2);
    context.fill();
    context.fillStyle = getComputedStyle(frame.box).color;
    context.font = `${12 * px}px system-ui, sans-serif`;
    context.textAlign = "center";
    const x = (eye[0] + seen([0, 0, d - 60])[0]) / 2, share = (x - eye[0]) / (top[0] - eye[0]);
    context.fillText(`${(d / 10).toFixed(0)} cm`, x, eye[1] + share * (top[1] - eye[1]) - 8 * px);
  };

  function tell() {
    const [f, d, cx, cy] = model.get("camera");
    sliders.distance.put(d / 10);
    sliders.focal.put(f * SENSOR);
    sliders.cx.put(100 * cx);
    sliders.cy.put(100 * cy);
    const { K, R, t } = photo.view(SIDE, SIDE), Rt = transposed(R);
    const P = product(Rt, [[1 / K[0][0], 0, -K[0][2] / K[0][0]], [0, 1 / K[1][1], -K[1][2] / K[1][1]], [0, 0, 1]]);
    const q = times(Rt, t).map((x) => -x);
    numbers.textContent = [
      "K, px", ...K.map((k) => line(k, 1)), "",
      "R".padEnd(26) + "t, mm", ...R.map((r, i) => line(r, 3) + show(t[i], 0)), "",
      "1000 P = 1000 Rᵀ K⁻¹".padEnd(24) + "q = −Rᵀ t, mm", ...P.map((p, i) => line(p.map((x) => 1000 * x), 2, 9) + show(q[i], 0)),
    ].join("\n");
    const m = photo.coefficients(), depth = (k) => project({ K, R, t }, vertex(face, face.landmarks[k], m))[2];
    const ears = (depth(0) + depth(16)) / 2, larger = 100 * (ears / depth(30) - 1);
    remark.textContent = `The tip of the nose is ${Math.abs(larger).toFixed(0)} % ${larger < 0 ? "smaller" : "larger"} than it would be at the depth of the ears.`;
    frame.invalidate();
  }

  const entry = (name, min, max, digits, unit, value, set, title) => slider(frame, name, {
    min, max, step: digits ? 0.5 : 1, digits, unit, value, title, set,
  });
  const [f, d, cx, cy] = model.get("camera");
  const shift = (i) => (x) => { const c = [...model.get("camera")]; c[i] = x / 100; put(c); };
  const sliders = {
    distance: entry("distance", NEAREST, FARTHEST, 0, " cm", d / 10, (x) => step(10 * x), "from the camera's centre to the middle of the head"),
    focal: entry("focal length", 10, LONGEST, 0, " mm", f * SENSOR, zoom, `for a sensor ${SENSOR} mm high`),
    cx: entry("centre, sideways", -40, 40, 1, " %", 100 * cx, shift(2), "principal point, in heights of the picture"),
    cy: entry("centre, down", -40, 40, 1, " %", 100 * cy, shift(3), "principal point, in heights of the picture"),
  };
  const hold = tick(frame, "keep the face's size", model.get("hold"), (on) => { model.set("hold", on); model.save_changes(); });
  const places = Object.entries(PLACES).map(([name, cm]) => button(frame, name, () => {
    const from = model.get("camera")[1];
    frame.animate((s) => step(from * (1 - s) + 10 * cm * s), 900);
    frame.say(`${name}: ${cm} cm`);
  }));
  model.on("change:hold", () => hold.put(model.get("hold")));
  for (const k of ["camera", "pose", "identity", "expression"]) model.on(`change:${k}`, tell);
  frame.panel.append(
    group("Camera", sliders.distance, sliders.focal, row(hold), row(...places)),
    group("Principal point", sliders.cx, sliders.cy,
      row(tick(frame, "outline from far away", ghost, (on) => { ghost = on; frame.invalidate(); }),
        button(frame, "look straight", () => { model.set("pose", [0, 0, 0]); put([...model.get("camera").slice(0, 2), 0, 0]); })), remark),
    group(`Numbers, for ${SIDE} × ${SIDE} pixels`, numbers));
  tell();
  return () => { frame.free(); photo.free(); aside.free(); };
}

const show = (x, digits, width = 8) => x.toFixed(digits).replace(/^-(0(?:\.0*)?)$/, "$1").replace("-", "−").padStart(width);
const line = (values, digits, width = 8) => values.map((x) => show(x, digits, width)).join("");

function path(context, points) {
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

function cross(context, x, y, r) {
  path(context, [[x - r, y], [x + r, y]]);
  path(context, [[x, y - r], [x, y + r]]);
}
