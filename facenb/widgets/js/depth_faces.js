// Figure "depthFaces": photos, and the depth maps with albedo that were made of them, to be turned, lit and flattened.

import { button, choice, group, row, slider, tick } from "./controls.js";
import { draw, surface } from "./depth_surface.js";
import { Frame } from "./frame.js";

const LARGEST = 400; // pixels of a side that are drawn
const rad = Math.PI / 180;

export function depthFaces({ model, el }) {
  const frame = new Frame(el, { wide: true });
  const [names, versions] = [model.get("names"), model.get("versions")];
  const seen = new Map(), photos = model.get("photos").map((address) => {
    const image = new Image();
    image.onload = () => frame.invalidate();
    image.src = address;
    return image;
  });
  const set = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
  };
  const known = (what) => model.get(what)[model.get("version")][model.get("face")];
  const shown = () => {
    const key = `${model.get("version")} ${model.get("face")}`;
    if (!seen.has(key)) seen.set(key, surface(known("depths"), known("albedos"), model.get("size")));
    return seen.get(key);
  };
  const turn = (dx, dy) => {
    const [yaw, pitch, roll] = model.get("pose");
    const limit = (x, most) => Math.min(Math.max(x, -most), most);
    set({ pose: [limit(yaw + 3 * dx, 1.5), limit(pitch - 3 * dy, 1), roll] });
  };

  frame.stage("The photo", (context, width, height) => {
    const photo = photos[model.get("face")];
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    if (photo.complete && photo.naturalWidth) context.drawImage(photo, 0, 0, width, height);
  }, { caption: "the photo", most: 300, least: 150 });
  const stage = (label, caption, extra) => frame.stage(label, (context, width, height) => {
    const n = Math.min(width, LARGEST);
    const pixels = draw(shown(), n, { pose: model.get("pose"), shift: model.get("shift"), relief: model.get("relief"), light: model.get("light"), ...extra });
    const own = new OffscreenCanvas(n, n);
    own.getContext("2d").putImageData(new ImageData(pixels, n, n), 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(own, 0, 0, width, height);
  }, { caption, most: 300, least: 150, turn, tip: "Drag, or press the arrow keys, to turn the head." });
  stage("The skin alone, without light", "its albedo: drag to turn", { lit: false });
  stage("The face that was made of the photo", "put together: drag to turn", {});

  const photoState = () => {
    const [ambient, diffuse, x, y] = known("lights"), view = known("views");
    return { pose: view.slice(0, 3), shift: view.slice(3, 5), light: [ambient, diffuse, x, y], relief: 1 };
  };
  const move = (goal, ms = 450) => {
    const from = Object.fromEntries(Object.keys(goal).map((key) => [key, model.get(key)]));
    const mixed = (a, b, t) => (Array.isArray(b) ? b.map((x, i) => (1 - t) * a[i] + t * x) : (1 - t) * a + t * b);
    frame.animate((t) => set(Object.fromEntries(Object.entries(goal).map(([key, b]) => [key, mixed(from[key], b, t)]))), ms);
  };
  const light = (k, value) => set({ light: model.get("light").map((x, i) => (i === k ? value : x)) });
  const degrees = (name, k, most) => slider(frame, name, {
    min: -most, max: most, step: 1, digits: 0, unit: "°", value: model.get("pose")[k] / rad,
    set: (x) => set({ pose: model.get("pose").map((a, i) => (i === k ? x * rad : a)) }),
  });
  const sliders = {
    yaw: degrees("turned", 0, 85),
    relief: slider(frame, "relief", { min: 0, max: 2, step: 0.02, digits: 2, value: model.get("relief"), set: (x) => set({ relief: x }) }),
    side: slider(frame, "lamp, sideways", { min: -2, max: 2, step: 0.05, digits: 2, value: model.get("light")[2], set: (x) => light(2, x) }),
    height: slider(frame, "lamp, height", { min: -2, max: 2, step: 0.05, digits: 2, value: model.get("light")[3], set: (x) => light(3, x) }),
    diffuse: slider(frame, "its strength", { min: 0, max: 1, step: 0.02, digits: 2, value: model.get("light")[1], set: (x) => light(1, x) }),
    ambient: slider(frame, "light of the room", { min: 0, max: 1, step: 0.02, digits: 2, value: model.get("light")[0], set: (x) => light(0, x) }),
  };
  let together = false; // a deeper face that turns less gives nearly the same picture: relief and yaw move together
  const held = tick(frame, "turn less when deeper", together, (on) => { together = on; });
  sliders.relief.querySelector("input").addEventListener("input", (e) => {
    if (together) model.set("pose", [known("views")[0] / Math.max(+e.target.value, 0.3), ...model.get("pose").slice(1)]);
  }, { signal: frame.end.signal });
  const faces = choice(frame, "face", Object.fromEntries(names.map((n, k) => [k, n])), String(model.get("face")), (k) => {
    set({ face: +k });
    move(photoState());
  });
  const made = choice(frame, "made by", Object.fromEntries(versions.map((n, k) => [k, n])), String(model.get("version")), (k) => {
    set({ version: +k });
    move(photoState());
  });
  frame.panel.append(
    group("Face", row(faces, ...(versions.length > 1 ? [made] : []), button(frame, "as in the photo", () => move(photoState())),
      button(frame, "straight ahead", () => move({ pose: [0, 0, 0] })), button(frame, "to the side", () => move({ pose: [0.9, 0, 0] }))),
    sliders.yaw, sliders.relief, row(held)),
    group("Light", sliders.side, sliders.height, sliders.diffuse, sliders.ambient),
  );
  const follow = () => {
    const [ambient, diffuse, x, y] = model.get("light");
    sliders.yaw.put(model.get("pose")[0] / rad);
    for (const [name, value] of Object.entries({ relief: model.get("relief"), side: x, height: y, diffuse, ambient })) sliders[name].put(value);
    frame.invalidate();
  };
  for (const name of ["pose", "shift", "light", "relief"]) model.on(`change:${name}`, follow);
  for (const [name, control] of [["face", faces], ["version", made]]) {
    model.on(`change:${name}`, () => { control.put(String(model.get(name))); frame.invalidate(); });
  }
  return () => frame.free();
}
