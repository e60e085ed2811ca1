// The shell around a live figure: a canvas that is drawn when something changed and somebody can see it, and controls.

const SLOW = 18, QUIET = 180; // ms: a drawing that takes longer is done without smooth outlines until the hand rests

const STYLE = `
.facenb-live { --ink: var(--pst-color-text-base, var(--jp-content-font-color1, CanvasText));
  --soft: var(--pst-color-text-muted, var(--jp-content-font-color2, GrayText));
  --line: var(--pst-color-border, var(--jp-border-color2, #8885));
  --strong: var(--pst-color-primary, var(--jp-brand-color1, #1f6f78));
  --paper: color-mix(in srgb, var(--ink) 5%, transparent);
  color: var(--ink); font: 14px/1.35 system-ui, sans-serif; display: grid; gap: 0.8rem; margin: 0.4rem 0;
  grid-template-columns: minmax(0, 1fr); container-type: inline-size; }
@media (prefers-color-scheme: dark) {
  .facenb-live { --strong: var(--pst-color-primary, var(--jp-brand-color1, #5fb4bd)); }
}
.facenb-live *, .facenb-live *::before { box-sizing: border-box; }
.facenb-live .body { display: grid; gap: 0.9rem; grid-template-columns: minmax(0, 1fr); align-items: start; }
.facenb-live .stages { display: flex; flex-wrap: wrap; gap: 0.6rem; justify-content: center; }
.facenb-live .stage { position: relative; flex: 1 1 200px; max-width: 512px; margin: 0; }
.facenb-live .stage canvas { display: block; width: 100%; height: auto; border-radius: 10px; background: var(--paper);
  cursor: grab; touch-action: pan-y; outline-offset: 2px; }
.facenb-live .stage canvas:active { cursor: grabbing; }
.facenb-live canvas:focus-visible, .facenb-live :is(button, input, select, summary):focus-visible {
  outline: 2px solid var(--strong); outline-offset: 2px; }
.facenb-live .stage figcaption { color: var(--soft); font-size: 12.5px; text-align: center; margin-top: 0.25rem; }
.facenb-live .panel { display: grid; gap: 0.55rem; min-width: 0; }
.facenb-live fieldset { border: 0; border-top: 1px solid var(--line); margin: 0; padding: 0.45rem 0 0; min-width: 0; }
.facenb-live fieldset:first-child { border-top: 0; padding-top: 0; }
.facenb-live legend { float: left; width: 100%; font-weight: 600; padding: 0; margin: 0 0 0.3rem; font-size: 13px; }
.facenb-live legend + * { clear: both; }
.facenb-live .abreast { display: flex; flex-wrap: wrap; gap: 0.4rem; align-items: center; }
.facenb-live label.slider { display: grid; grid-template-columns: 9.4em minmax(4em, 1fr) 3.9em; gap: 0.5rem;
  align-items: center; min-height: 26px; margin: 0; font-size: 13px; }
.facenb-live label.slider > span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.facenb-live label.slider output { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap;
  color: var(--soft); padding: 0; }
.facenb-live input[type=range] { width: 100%; min-width: 0; height: 22px; margin: 0; accent-color: var(--strong); }
.facenb-live label.choice { display: inline-flex; gap: 0.35em; align-items: center; margin: 0; min-height: 26px; font-size: 13px; }
.facenb-live label.choice input { accent-color: var(--strong); margin: 0; }
.facenb-live button, .facenb-live select { font: inherit; font-size: 13px; color: var(--ink); background: var(--paper);
  border: 1px solid var(--line); border-radius: 7px; padding: 0.28rem 0.7rem; cursor: pointer; min-height: 30px; }
.facenb-live select option { color: #111; background: #fff; }
.facenb-live button:hover:not(:disabled) { border-color: var(--strong); }
.facenb-live button:disabled { opacity: 0.45; cursor: default; }
.facenb-live .numbers { font: 12.5px/1.5 ui-monospace, monospace; white-space: pre; overflow-x: auto; margin: 0;
  background: none; border: 0; padding: 0; color: var(--ink); }
.facenb-live .remark { color: var(--soft); font-size: 12.5px; margin: 0; }
.facenb-live .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.facenb-live img.still { max-width: min(100%, 512px); border-radius: 10px; }
@container (max-width: 619px) {
  .facenb-live .beside .stages { position: sticky; top: var(--pst-header-height, 0px); z-index: 2; }
  .facenb-live .beside .stage { max-width: 300px !important; background: var(--pst-color-background, Canvas); border-radius: 10px; }
}
@container (min-width: 620px) {
  .facenb-live .body.beside { grid-template-columns: minmax(0, 1.15fr) minmax(250px, 1fr); }
  .facenb-live .below .panel { grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 0.55rem 1.4rem; }
  .facenb-live .below fieldset { border-top: 0; padding-top: 0; }
}
`;

let names = 0;

/** Create an element: tag, properties (`class`, `aria-…` and `data-…` as attributes), children. */
export function make(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(properties)) {
    if (k === "class" || k.includes("-") || k === "role" || k === "for") e.setAttribute(k, v);
    else e[k] = v;
  }
  e.append(...children);
  return e;
}

export class Frame {
  /** `wide` figures keep their controls below the stages. */
  constructor(el, { wide = false } = {}) {
    const root = el.getRootNode();
    const home = root instanceof ShadowRoot ? root : document.head;
    if (!home.querySelector("style[data-facenb-live]")) home.append(make("style", { "data-facenb-live": "", textContent: STYLE }));
    this.stages = make("div", { class: "stages" });
    this.panel = make("div", { class: "panel" });
    this.said = make("div", { class: "said", role: "status", "aria-live": "polite" });
    this.box = make("div", { class: "facenb-live" },
      make("div", { class: wide ? "body below" : "body beside" }, this.stages, this.panel), this.said);
    this.canvases = [];
    this.stale = new Set();
    this.end = new AbortController(); // ends all listeners
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) target.facenbSeen = isIntersecting;
      this.schedule();
    }, { rootMargin: "80px" });
    this.sizes = new ResizeObserver(() => this.invalidate());
    // JupyterLab would take arrow keys for its own commands
    this.listen(this.box, "focusin", (e) => e.target.setAttribute("data-lm-suppress-shortcuts", "true"));
    el.replaceChildren(this.box);
  }

  /** A canvas `ratio` times as wide as high. draw(context, width, height, px, fine) works in device pixels, px of them
   *  to a CSS pixel, and may be rough if not `fine`; `turn(dx, dy)` gets drags and arrow keys as fractions of the canvas's height. */
  stage(label, draw, { ratio = 1, caption, turn, tip, most = 512, least = 200 } = {}) {
    const help = make("span", { class: "said", id: `facenb-help-${++names}`, textContent: tip ?? "" });
    const canvas = make("canvas", { tabIndex: turn ? 0 : -1, role: "img", "aria-label": label });
    if (tip) canvas.setAttribute("aria-describedby", help.id);
    const figure = make("figure", { class: "stage" }, canvas, help);
    Object.assign(figure.style, { maxWidth: `${most}px`, flexBasis: `${least}px` });
    if (caption) figure.append(make("figcaption", {}, caption));
    this.stages.append(figure);
    Object.assign(canvas, { facenbDraw: draw, facenbRatio: ratio, facenbSeen: false });
    canvas.style.aspectRatio = ratio;
    this.canvases.push(canvas);
    this.seen.observe(canvas);
    this.sizes.observe(canvas);
    if (turn) this.turnable(canvas, turn);
    this.invalidate(canvas);
    return canvas;
  }

  turnable(canvas, turn) {
    let last = null;
    this.listen(canvas, "pointerdown", (e) => {
      if (e.button) return;
      last = [e.clientX, e.clientY];
      canvas.setPointerCapture(e.pointerId);
    });
    this.listen(canvas, "pointermove", (e) => {
      if (!last) return;
      const h = canvas.clientHeight;
      turn((e.clientX - last[0]) / h, (e.clientY - last[1]) / h, e);
      last = [e.clientX, e.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) this.listen(canvas, end, () => { last = null; });
    const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    this.listen(canvas, "keydown", (e) => {
      const d = keys[e.key];
      if (!d || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      turn(...d.map((x) => x * (e.shiftKey ? 0.01 : 0.04)), e);
    });
  }

  listen(target, kind, handler) {
    target.addEventListener(kind, handler, { signal: this.end.signal });
  }

  /** Draw again, one canvas or all, in the next animation frame in which it is on the screen. */
  invalidate(canvas) {
    for (const c of canvas ? [canvas] : this.canvases) this.stale.add(c);
    this.schedule();
  }

  schedule() {
    if (this.waiting || ![...this.stale].some((c) => c.facenbSeen)) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      for (const c of [...this.stale]) if (c.facenbSeen) this.redraw(c);
    });
  }

  redraw(canvas) {
    this.stale.delete(canvas);
    const px = Math.min(window.devicePixelRatio || 1, 2), css = canvas.clientWidth || 300;
    const width = Math.round(css * px), height = Math.round(width / canvas.facenbRatio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const start = performance.now(), fine = !(canvas.facenbSlow && start - canvas.facenbLast < QUIET);
    canvas.facenbDraw(canvas.getContext("2d"), width, height, px, fine);
    canvas.facenbLast = performance.now();
    if (fine) canvas.facenbSlow = canvas.facenbLast - start > SLOW;
    clearTimeout(canvas.facenbWait);
    if (!fine) canvas.facenbWait = setTimeout(() => this.invalidate(canvas), 1.2 * QUIET);
    canvas.dataset.drawn = +(canvas.dataset.drawn ?? 0) + 1;
    canvas.dataset.fine = fine;
  }

  /** For those who hear the page. */
  say(text) { this.said.textContent = text; }

  /** Move from 0 to 1 in `ms`; at once for readers who have asked for less motion. */
  animate(step, ms = 450) {
    cancelAnimationFrame(this.moving);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return step(1);
    const start = performance.now();
    const go = (now) => {
      const t = Math.min((now - start) / ms, 1);
      step(t * t * (3 - 2 * t));
      if (t < 1) this.moving = requestAnimationFrame(go);
    };
    this.moving = requestAnimationFrame(go);
  }

  free() {
    this.end.abort();
    this.seen.disconnect();
    this.sizes.disconnect();
    for (const c of this.canvases) clearTimeout(c.facenbWait);
    cancelAnimationFrame(this.waiting);
    cancelAnimationFrame(this.moving);
  }
}
