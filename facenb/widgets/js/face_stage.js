// A face that turns under the hand: what the figures have in common.

import { shapeCoefficients } from "./face_file.js";
import { Surface, gpu } from "./gpu.js";
import { pinhole } from "./view.js";

const FARTHEST = [1.5, 0.9, Math.PI]; // radians of yaw, pitch, roll that a hand can reach

export class FaceStage {
  /** `model` holds identity, expression, albedo, light (3 × 9), pose and camera. look(): the look and its options. */
  constructor(frame, model, face, { label, look, caption, ratio, most, least, turn, middle }) {
    Object.assign(this, { frame, model, face, look, stale: true });
    this.card = gpu();
    this.surface = new Surface(this.card, face);
    this.middle = middle ?? middleOf(face);
    this.canvas = frame.stage(label, (...a) => this.draw(...a), {
      ratio, caption, most, least,
      tip: "Drag, or press the arrow keys, to turn.",
      turn: turn ?? ((dx, dy) => this.turn(dx, dy)),
    });
    for (const k of ["identity", "expression", "albedo"]) model.on(`change:${k}`, () => this.reshape());
    for (const k of ["light", "pose", "camera"]) model.on(`change:${k}`, () => frame.invalidate(this.canvas));
  }

  turn(dx, dy) {
    const [yaw, pitch, roll] = this.model.get("pose");
    const limit = (x, i) => Math.min(Math.max(x, -FARTHEST[i]), FARTHEST[i]);
    this.model.set("pose", [limit(yaw + 2.2 * dx, 0), limit(pitch + 2.2 * dy, 1), roll]);
    this.model.save_changes();
  }

  reshape() {
    this.stale = true;
    this.frame.invalidate(this.canvas);
  }

  coefficients() {
    const { model, face } = this;
    return shapeCoefficients(face, model.get("identity"), model.get("expression"));
  }

  view(width, height) {
    return pinhole(this.model.get("pose"), this.model.get("camera"), this.middle, width, height);
  }

  draw(context, width, height, px, fine) {
    if (this.card.lost) { // the browser took the graphics card away: begin anew
      this.card = gpu();
      this.surface = new Surface(this.card, this.face);
      this.prepare?.(this.surface);
      this.stale = true;
    }
    if (this.stale) {
      const h = this.model.get("albedo");
      this.surface.shape(this.coefficients(), Array.from({ length: this.face.albedo.length }, (_, k) => h[k] ?? 0));
      this.stale = false;
    }
    this.shown = this.view(width, height);
    this.card.draw(context, this.surface, this.shown, { light: this.model.get("light"), middle: this.middle, fine, ...this.look(px) });
    this.over?.(context, this.shown, px);
  }

  free() { this.surface.free(); }
}

/** The middle of the mean face's bounding box, mm: what `facenb.pictures.portrait_camera` looks at. */
export function middleOf(face) {
  const W = face.vertices, V = face.face;
  return [0, 1, 2].map((c) => {
    let low = Infinity, high = -Infinity;
    for (let i = 0; i < V; i++) {
      low = Math.min(low, face.mean[c * W + i]);
      high = Math.max(high, face.mean[c * W + i]);
    }
    return (low + high) / 2;
  });
}
