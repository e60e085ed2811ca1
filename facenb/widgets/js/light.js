// Figure "light": a lamp to drag round a face, the nine numbers of its light, and what their reciprocal gets wrong.

import { choice, group, slider } from "./controls.js";
import { FaceStage } from "./face_stage.js";
import { Frame, make } from "./frame.js";
import { vertices, shapeCoefficients } from "./face_file.js";
import { vertexNormals } from "./gpu.js";
import { inverseLight, shadingAt, spherePoints } from "./inverse_light.js";
import { lampControls } from "./lamp_controls.js";

const NAMES = ["1", "y", "z", "x", "xy", "yz", "3z² − 1", "xz", "x² − y²"];
const DIRECTIONS = spherePoints(400);
const LARGEST = 0.25; // relative error at the ends of the colours
const LOOKS = { skin: "skin", shading: "light alone" };
const display = (c) => (c <= 0.0031308 ? 12.92 * Math.max(c, 0) : 1.055 * c ** (1 / 2.4) - 0.055);

export function light({ model, el, face }) {
  const frame = new Frame(el, { wide: true });
  const W = face.vertices;
  let look = "skin", inverse, normals;
  const options = { most: 250, least: 140 }; // two in a row on a phone
  const controls = lampControls(frame, model);

  frame.stage("A sphere in the same light. Arrow keys move the lamp.", drawBall, {
    ...options, caption: "drag the lamp", tip: "Drag, or press the arrow keys, to move the lamp.",
    turn: (dx, dy) => controls.move(120 * dx, -120 * dy),
  });
  const stage = (label, caption, own) => new FaceStage(frame, model, face, { ...options, label, caption, look: own });
  const regular = stage("The face in this light", "lit by the light", () => ({ look }));
  const divided = stage("The face lit by the inverse light", "lit by its inverse light",
    () => ({ look: inverse ? look : "clay", reciprocal: true, light: inverse ?? model.get("light") }));
  const wrong = stage("Where the inverse light errs", `error, −${100 * LARGEST} … +${100 * LARGEST} %`, () => ({ look: "values" }));
  const numbers = make("p", { class: "remark", "aria-live": "polite" });

  function reshape() {
    const m = shapeCoefficients(face, model.get("identity"), model.get("expression"));
    normals = vertexNormals(vertices(face, m), face.triangles, W);
    relight();
  }

  function relight() {
    const l = model.get("light"), errors = new Float32Array(W);
    inverse = inverseLight(l, DIRECTIONS);
    if (inverse) {
      let sum = 0, largest = 0;
      for (let i = 0; i < face.face; i++) {
        const n = [normals[i], normals[W + i], normals[2 * W + i]];
        const error = 1 / (Math.max(shadingAt(inverse[1], n), 0.05) * shadingAt(l[1], n)) - 1;
        errors[i] = error / LARGEST;
        sum += error * error;
        largest = Math.max(largest, Math.abs(error));
      }
      const percent = (x) => `${(100 * x).toFixed(1)} %`;
      numbers.textContent = `On the face the inverse light errs by ${percent(Math.sqrt(sum / face.face))} (RMS), at most ${percent(largest)}.`;
    } else numbers.textContent = "This light goes dark somewhere: it has no inverse. Add light of the room.";
    wrong.surface.setValues(errors);
    sliders.forEach((s, k) => s.put(mean(l, k)));
    frame.invalidate();
  }

  function drawBall(context, width, height, px) {
    const image = context.createImageData(width, height), l = model.get("light"), r = 0.44 * width, c = (width - 1) / 2;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const u = (x - c) / r, v = (c - y) / r, q = 1 - u * u - v * v;
        if (q < 0) continue;
        const n = [u, v, Math.sqrt(q)];
        const at = 4 * (y * width + x);
        for (let k = 0; k < 3; k++) image.data[at + k] = 255 * display(0.55 * shadingAt(l[k], n));
        image.data[at + 3] = 255 * Math.min(1, (q * r) / 2);
      }
    }
    context.putImageData(image, 0, 0);
    const d = [3, 1, 2].map((k) => mean(l, k)), length = Math.hypot(...d) || 1; // where order one says that light is from
    const [X, Y, Z] = d.map((x) => x / length);
    context.beginPath();
    context.arc(c + X * r, c - Y * r, 9 * px, 0, 7);
    context.fillStyle = Z >= 0 ? "#ffd98a" : "transparent";
    context.fill();
    context.lineWidth = 2 * px;
    context.strokeStyle = "#b5532f";
    context.stroke();
  }

  const sliders = NAMES.map((name, k) => slider(frame, `l${"₁₂₃₄₅₆₇₈₉"[k]} · ${name}`, {
    min: k ? -2 : 0.5, max: k ? 2 : 6, step: 0.02, digits: 2, value: mean(model.get("light"), k),
    title: "coefficient of this harmonic, the same for red, green and blue",
    set: (x) => {
      const l = model.get("light"), shift = x - mean(l, k);
      model.set("light", l.map((row) => row.map((v, i) => (i === k ? v + shift : v))));
      model.save_changes();
    },
  }));
  for (const k of ["identity", "expression"]) model.on(`change:${k}`, reshape);
  model.on("change:light", relight);
  frame.panel.append(controls.box, group("Nine numbers", ...sliders),
    group("Inverse", numbers, choice(frame, "Surface", LOOKS, look, (v) => { look = v; frame.invalidate(); })));
  reshape();
  return () => { frame.free(); for (const s of [regular, divided, wrong]) s.free(); };
}

const mean = (l, k) => (l[0][k] + l[1][k] + l[2][k]) / 3;
