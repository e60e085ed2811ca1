// One module, two homes: in JupyterLab anywidget calls `render`, in a page `mount` does, with a model of its own.

import { byHand } from "./by_hand.js";
import { camera } from "./camera.js";
import { depthFaces } from "./depth_faces.js";
import { explorer } from "./explorer.js";
import { readFace } from "./face_file.js";
import { flattening } from "./flattening.js";
import { gpu } from "./gpu.js";
import { light } from "./light.js";
import { portrait } from "./portrait.js";
import { replay } from "./replay.js";

const FIGURES = { byHand, camera, explorer, flattening, light, portrait };
const PICTURES = { depthFaces, replay }; // need neither a face nor WebGL
const faces = new Map(); // name of the file → promise of the face

/** A model without a kernel: the same calls as anywidget's. */
class PageModel {
  constructor(state) { this.state = state; this.heard = {}; }
  get(name) { return this.state[name]; }
  set(name, value) {
    this.state[name] = value;
    for (const f of this.heard[`change:${name}`] ?? []) f();
  }
  on(event, f) { (this.heard[event] ??= []).push(f); }
  save_changes() {}
}

async function begin(model, el, key, bytes) { // bytes: or a promise of them
  const figure = model.get("figure");
  if (figure in PICTURES) return PICTURES[figure]({ model, el });
  if (!gpu()) {
    if (!el.querySelector(".still")) el.append("This figure needs WebGL 2, which this browser does not offer.");
    return () => {};
  }
  if (!faces.has(key)) faces.set(key, Promise.resolve(bytes).then(readFace));
  const face = await faces.get(key);
  return FIGURES[figure]({ model, el, face });
}

/** In a page. shared(name) promises what its figures have in common. */
export async function mount(el, state, shared) {
  const model = new PageModel(state);
  el.facenbModel = model;
  return begin(model, el, state.face, state.face && shared(state.face));
}

/** In JupyterLab. */
async function render({ model, el }) {
  const data = model.get("_face_file");
  const bytes = data && new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return begin(model, el, model.get("face"), bytes);
}

export default { render };
