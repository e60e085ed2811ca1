// Figure "explorer": who a face is, what it does, and how it is drawn.

import { button, choice, group, row, slider, tick } from "./controls.js";
import { FaceStage } from "./face_stage.js";
import { Frame } from "./frame.js";

const SHOWN = { identity: 8, albedo: 5 };
const LOOKS = { skin: "skin in light", albedo: "skin without light", clay: "clay", normals: "normals", checker: "(u, v) checker" };

export function explorer({ model, el, face }) {
  const frame = new Frame(el);
  const state = { look: model.get("look") ?? "skin", edges: false, points: false };
  const past = [];
  const stage = new FaceStage(frame, model, face, {
    label: "A three-dimensional face. Its sliders follow.",
    look: () => ({
      look: state.look,
      marks: [
        ...(state.edges ? [{ kind: "edges", ink: [0.1, 0.12, 0.14, 0.45] }] : []),
        ...(state.points ? [{ kind: "points", vertices: face.landmarks, ink: [0.1, 0.75, 0.55, 1], size: 6 }] : []),
      ],
    }),
  });
  const redraw = () => frame.invalidate(stage.canvas);

  const snapshot = () => Object.fromEntries(["identity", "expression", "albedo"].map((k) => [k, [...model.get(k)]]));
  let hand = {}; // which slider was moved last, and when: a drag, or a row of key strokes, is one step to undo
  const remember = () => { past.push(snapshot()); undo.disabled = false; hand = {}; };
  const moves = (s) => {
    const now = performance.now();
    if (hand.on !== s || now - hand.at > 1500) remember();
    hand = { on: s, at: now };
  };
  const put = (values) => { for (const [k, v] of Object.entries(values)) model.set(k, v); model.save_changes(); };
  const travel = (goal) => {
    const start = snapshot();
    frame.animate((t) => put(Object.fromEntries(Object.entries(goal).map(([k, v]) => [k, mixed(start[k], v, t)]))));
  };

  const entry = (kind, k, name, range) => {
    const s = slider(frame, name, {
      min: -range, max: range, step: 0.1, value: model.get(kind)[k] ?? 0, unit: " σ",
      title: `component ${k + 1} of ${kind}, in standard deviations`,
      set: (x) => {
        moves(s);
        const list = [...model.get(kind)];
        while (list.length <= k) list.push(0);
        list[k] = x;
        put({ [kind]: list });
      },
    });
    model.on(`change:${kind}`, () => s.put(model.get(kind)[k] ?? 0));
    return s;
  };
  const components = (kind) =>
    (face.names[kind] ?? []).slice(0, SHOWN[kind]).map((name, k) => entry(kind, k, `${k + 1} ${name}`, 3));

  const wanted = Object.keys(face.expressions);
  const weights = Object.fromEntries(wanted.map((name) => [name, 0]));
  let rest = [...model.get("expression")]; // what no slider explains
  let own = false;
  const performed = () => {
    const n = face.expression;
    return Array.from({ length: n }, (_, k) => (rest[k] ?? 0) + wanted.reduce((s, name) => s + weights[name] * face.expressions[name][k], 0));
  };
  const acts = wanted.map((name) => {
    const s = slider(frame, name, {
      min: 0, max: 1, step: 0.02, value: 0, digits: 2,
      set: (x) => {
        moves(s);
        weights[name] = x;
        own = true;
        put({ expression: performed() });
        own = false;
      },
    });
    return s;
  });
  model.on("change:expression", () => {
    if (own) return;
    rest = [...model.get("expression")]; // somebody else's: the sliders start from there
    wanted.forEach((name, i) => { weights[name] = 0; acts[i].put(0); });
  });

  const random = () => {
    remember();
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    const draw = (n) => Array.from({ length: n }, () => Math.round(10 * 0.9 * normal()) / 10);
    travel({ identity: draw(face.identity), albedo: draw(face.albedo.length), expression: [] });
    frame.say("A random face.");
  };
  const reset = () => { remember(); travel({ identity: [], albedo: [], expression: [] }); model.set("pose", [0, 0, 0]); model.save_changes(); };
  const undo = button(frame, "Undo", () => {
    if (past.length) travel(past.pop());
    undo.disabled = !past.length;
  });
  undo.disabled = true;

  frame.panel.append(
    group("Who", ...components("identity")),
    group("Doing what", ...acts),
    group("Skin", ...components("albedo")),
    group("Seen how",
      row(choice(frame, "Surface", LOOKS, state.look, (v) => { state.look = v; redraw(); }),
        tick(frame, "wireframe", false, (v) => { state.edges = v; redraw(); }),
        tick(frame, "landmarks", false, (v) => { state.points = v; redraw(); }))),
    row(button(frame, "Random face", random), undo, button(frame, "Reset", reset)),
  );
  return () => { frame.free(); stage.free(); };
}

function mixed(a, b, t) {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, k) => (1 - t) * (a[k] ?? 0) + t * (b[k] ?? 0));
}
