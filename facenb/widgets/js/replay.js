// Figure "replay": scrub through a training run and see what the network said at each moment.

import { button, choice, group, row, slider } from "./controls.js";
import { Frame, make } from "./frame.js";

const PAUSE = 900; // ms at each moment while it plays
const TEAL = "#1f9e8f", CLAY = "#b5532f";

export function replay({ model, el }) {
  const frame = new Frame(el, { wide: true });
  const steps = model.get("steps"), panels = model.get("panels"), curve = model.get("curve");
  const images = new Map();
  let from = model.get("moment"), mix = 1, playing = null;

  /** The picture behind an address; once it has been decoded, everything is drawn again. */
  const image = (address) => {
    if (!images.has(address)) {
      const i = new Image();
      i.onload = () => frame.invalidate();
      i.src = address;
      images.set(address, i);
    }
    return images.get(address);
  };
  const put = (context, address, width, height, alpha = 1) => {
    const i = image(address);
    if (!i.complete || !i.naturalWidth) return;
    context.globalAlpha = alpha;
    context.imageSmoothingQuality = "high";
    context.drawImage(i, 0, 0, width, height);
    context.globalAlpha = 1;
  };
  const options = { most: 190, least: 120 };
  frame.stage("The photo", (context, width, height) => {
    context.clearRect(0, 0, width, height);
    put(context, model.get("photos")[model.get("picture")], width, height);
  }, { ...options, caption: "photo" });
  for (const [caption, moments] of Object.entries(panels)) {
    frame.stage(`${caption}, at the moment that is shown`, (context, width, height) => {
      const picture = model.get("picture");
      context.clearRect(0, 0, width, height);
      put(context, moments[from][picture], width, height);
      if (mix > 0) put(context, moments[model.get("moment")][picture], width, height, mix);
    }, { ...options, caption });
  }
  const plot = frame.stage("The curve of the run. Left and right arrow keys go from moment to moment.", drawCurve, {
    ratio: 3.8, most: 990, least: 600, tip: "Drag along the curve, or press the arrow keys.",
    caption: `${model.get("label")}, by step: drag along it`,
    turn: (dx, dy, e) => { if (e.type === "keydown") go(model.get("moment") + Math.sign(dx || -dy)); },
  });
  for (const kind of ["pointerdown", "pointermove"]) {
    frame.listen(plot, kind, (e) => {
      if (kind === "pointermove" && !e.buttons) return;
      const step = atStep(e.offsetX / plot.clientWidth);
      go(steps.reduce((best, s, k) => (Math.abs(s - step) < Math.abs(steps[best] - step) ? k : best), 0));
    });
  }

  // where a step is drawn, as a share of the width, and back; early steps get more room, because more happens there
  const last = steps.at(-1), right = 0.98;
  const left = () => Math.max(0.05, 38 / plot.clientWidth); // room for the numbers at the side
  const share = (step) => left() + (right - left()) * Math.sqrt(Math.min(step, last) / last);
  const atStep = (x) => last * Math.max(0, (x - left()) / (right - left())) ** 2;

  function drawCurve(context, width, height, px) {
    const low = Math.min(...curve.map((p) => p[1])), high = Math.max(...curve.map((p) => p[1]));
    const y = (v) => height * (0.06 + 0.7 * (1 - (v - low) / (high - low || 1)));
    const ink = getComputedStyle(frame.box).color;
    context.clearRect(0, 0, width, height);
    context.font = `${12 * px}px system-ui, sans-serif`;
    context.fillStyle = ink;
    context.textAlign = "right";
    for (const v of [low, high]) context.fillText(v.toFixed(2), left() * width - 6 * px, y(v) + 4 * px);
    context.strokeStyle = TEAL;
    context.lineWidth = 2 * px;
    context.beginPath();
    for (const [s, v] of curve) context.lineTo(share(s) * width, y(v));
    context.stroke();
    const now = steps[from] * (1 - mix) + steps[model.get("moment")] * mix;
    context.strokeStyle = CLAY;
    context.beginPath();
    context.moveTo(share(now) * width, height * 0.02);
    context.lineTo(share(now) * width, height * 0.82);
    context.stroke();
    context.textAlign = "center";
    steps.forEach((s, k) => {
      const shown = k === model.get("moment");
      context.beginPath();
      context.arc(share(s) * width, height * 0.82, (shown ? 6 : 4) * px, 0, 7);
      context.fillStyle = shown ? CLAY : TEAL;
      context.fill();
      context.fillStyle = ink;
      const crowded = k > 0 && (share(s) - share(steps[k - 1])) * width < 46 * px && !shown;
      if (!crowded) context.fillText(s.toLocaleString("en"), Math.min(share(s) * width, width - 22 * px), height * 0.97);
    });
  }

  function go(k) {
    model.set("moment", Math.min(Math.max(k, 0), steps.length - 1));
    model.save_changes();
  }
  let shown = model.get("moment");
  model.on("change:moment", () => {
    const to = model.get("moment");
    if (to === shown) return;
    [from, shown] = [shown, to];
    frame.animate((t) => { mix = t; frame.invalidate(); }, 260);
    moment.put(to);
    said.textContent = words();
  });
  model.on("change:picture", () => { pictures.put(String(model.get("picture"))); frame.invalidate(); });

  const words = () => `Step ${steps[shown].toLocaleString("en")}${shown ? "" : ": the pretrained network"}`;
  const said = make("p", { class: "remark", "aria-live": "polite" }, words());
  const moment = slider(frame, "moment", {
    min: 0, max: steps.length - 1, step: 1, digits: 0, value: model.get("moment"), set: go, title: "which moment of the training is shown",
  });
  const names = Object.fromEntries(model.get("names").map((name, k) => [k, name]));
  const pictures = choice(frame, "photo", names, String(model.get("picture")), (k) => { model.set("picture", +k); model.save_changes(); });
  const play = button(frame, "play", () => {
    if (playing) return stop();
    if (shown === steps.length - 1) go(0);
    play.textContent = "pause";
    playing = setInterval(() => (shown < steps.length - 1 ? go(shown + 1) : stop()), PAUSE);
  });
  function stop() {
    clearInterval(playing);
    playing = null;
    play.textContent = "play";
  }
  frame.panel.append(group("Training", moment, row(play, said)), group("Photo", row(pictures)));
  return () => { stop(); frame.free(); };
}
