// A lamp and a room as sliders; what they add up to is the figure's light.

import { button, group, row, slider } from "./controls.js";
import { lamp } from "./view.js";

const rad = Math.PI / 180;

/** Names and settings: side and height of the lamp (degrees), its strength and that of the room, warmth (−1 … 1). */
export const LAMPS = {
  "from the front": { side: -20, height: 25, strength: 0.75, room: 0.35, warmth: 0.1 },
  "from the left": { side: -75, height: 15, strength: 1.15, room: 0.12, warmth: 0.35 },
  "from the right": { side: 75, height: 15, strength: 1.15, room: 0.12, warmth: -0.3 },
  "from above": { side: 0, height: 75, strength: 1.2, room: 0.15, warmth: 0 },
  "a camp fire": { side: 10, height: -50, strength: 1.1, room: 0.08, warmth: 0.9 },
  "an overcast day": { side: 0, height: 60, strength: 0.25, room: 0.85, warmth: -0.2 },
};

/** 3 × 9 coefficients. side > 0: from the right of the picture of a frontal face. */
export function lampLight({ side, height, strength, room, warmth }) {
  const [a, e] = [side * rad, height * rad];
  const direction = [Math.sin(a) * Math.cos(e), Math.sin(e), Math.cos(a) * Math.cos(e)];
  const colour = [1 + 0.3 * warmth, 1, 1 - 0.45 * warmth].map((c) => c * strength);
  return lamp(direction, colour, [room, room, room * 1.06]);
}

/** Controls that set `model`'s light: their box, and `move(side, height)`, by so many degrees. */
export function lampControls(frame, model, start = "from the front") {
  const now = { ...LAMPS[start] };
  const give = () => { model.set("light", lampLight(now)); model.save_changes(); };
  const entry = (key, name, min, max, step, digits, unit = "") => [key, slider(frame, name, {
    min, max, step, digits, unit, value: now[key], set: (x) => { now[key] = x; give(); },
  })];
  const sliders = Object.fromEntries([
    entry("side", "lamp, sideways", -180, 180, 2, 0, "°"),
    entry("height", "lamp, height", -90, 90, 2, 0, "°"),
    entry("strength", "its strength", 0, 2, 0.02, 2),
    entry("warmth", "cold … warm", -1, 1, 0.02, 2),
    entry("room", "light of the room", 0, 1.2, 0.02, 2),
  ]);
  const presets = Object.entries(LAMPS).map(([name, goal]) => button(frame, name, () => {
    const from = { ...now };
    frame.animate((t) => {
      for (const k of Object.keys(now)) {
        now[k] = (1 - t) * from[k] + t * goal[k];
        sliders[k].put(now[k]);
      }
      give();
    });
    frame.say(`Light ${name}.`);
  }));
  const move = (side, height) => {
    now.side = ((((now.side + side + 180) % 360) + 360) % 360) - 180;
    now.height = Math.min(Math.max(now.height + height, -90), 90);
    sliders.side.put(now.side);
    sliders.height.put(now.height);
    give();
  };
  return { box: group("Light", ...Object.values(sliders), row(...presets)), move };
}
