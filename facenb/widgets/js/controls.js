// Controls with names: what a mouse, a finger, a keyboard and a screen reader need.

import { make } from "./frame.js";

const show = (x, digits) => x.toFixed(digits).replace("-", "−");

/** A named slider; `set(value)` is called while it moves. A double click takes it to zero. */
export function slider(frame, name, { min, max, step, value, digits = 1, unit = "", title, set }) {
  const input = make("input", { type: "range", min, max, step, value, "data-name": name });
  const output = make("output", {}, show(value, digits) + unit);
  const label = make("label", { class: "slider", title: title ?? name }, make("span", {}, name), input, output);
  const spoken = (x) => input.setAttribute("aria-valuetext", `${show(x, digits)}${unit}`);
  spoken(value);
  frame.listen(input, "input", () => {
    output.textContent = show(+input.value, digits) + unit;
    spoken(+input.value);
    set(+input.value);
  });
  frame.listen(label, "dblclick", () => {
    input.value = Math.min(Math.max(0, min), max);
    input.dispatchEvent(new Event("input"));
  });
  label.put = (x) => { input.value = x; output.textContent = show(x, digits) + unit; spoken(x); };
  return label;
}

export function button(frame, name, press, title = name) {
  const b = make("button", { type: "button", title }, name);
  frame.listen(b, "click", press);
  return b;
}

export function tick(frame, name, checked, set) {
  const input = make("input", { type: "checkbox", checked, "data-name": name });
  frame.listen(input, "change", () => set(input.checked));
  const label = make("label", { class: "choice" }, input, name);
  label.put = (x) => { input.checked = x; };
  return label;
}

export function choice(frame, name, values, value, set) {
  const select = make("select", { "aria-label": name, "data-name": name },
    ...Object.entries(values).map(([k, text]) => make("option", { value: k }, text)));
  select.value = value;
  frame.listen(select, "change", () => set(select.value));
  select.put = (x) => { select.value = x; };
  return select;
}

export function group(name, ...children) {
  return make("fieldset", {}, make("legend", {}, name), ...children);
}

export const row = (...children) => make("div", { class: "abreast" }, ...children);
