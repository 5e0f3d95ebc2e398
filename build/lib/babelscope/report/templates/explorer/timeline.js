// The slider over steps, and play.

import { el } from "./dom.js";

const PAUSE = 700; // milliseconds between steps while playing

export class Timeline {
  // move(place, playing): another step was taken; stopped(): playing has ended.
  constructor(move, stopped) {
    this.move = move;
    this.stopped = stopped;
    this.timer = 0;
    this.steps = [];
    this.slider = el("input", {
      type: "range", min: "0", step: "1", "aria-label": "Training step",
      oninput: () => {
        this.pause();
        this.move(Number(this.slider.value), false);
      },
    });
    this.button = el("button", { type: "button", class: "x-play", onclick: () => this.toggle() }, "Play");
    this.told = el("output", { class: "x-told" });
    this.marks = el("div", { class: "x-marks", "aria-hidden": "true" });
    this.node = el(
      "div",
      { class: "x-time" },
      this.button,
      el("div", { class: "x-rail" }, this.slider, this.marks),
      this.told,
    );
  }

  get playing() {
    return this.timer !== 0;
  }

  update(model, step) {
    const at = model.steps.indexOf(step);
    const reason = model.flagged[step];
    this.steps = model.steps;
    this.slider.max = String(model.steps.length - 1);
    this.slider.value = String(at);
    this.slider.disabled = this.button.disabled = model.steps.length < 2;
    const warned = reason === undefined ? "" : ", flagged by the audit";
    this.slider.setAttribute("aria-valuetext", `step ${step}, ${at + 1} of ${model.steps.length}${warned}`);
    const tokens = model.tokens ? ` · ${short(model.tokens[at])} tokens seen` : "";
    this.told.replaceChildren(
      el("b", {}, `step ${step}`),
      `, ${at + 1} of ${model.steps.length}${tokens}`,
      reason === undefined ? "" : el("span", { class: "x-flag" }, ` ⚠ flagged by the audit: ${reason}`),
    );
    this.marks.replaceChildren(
      ...model.steps.map((each) =>
        el("span", { class: each in model.flagged ? "x-mark x-flag" : "x-mark" }, each in model.flagged ? "⚠" : "|"),
      ),
    );
  }

  toggle() {
    if (this.playing) {
      this.pause();
      return;
    }
    this.button.replaceChildren("Pause");
    const last = this.steps.length - 1;
    if (Number(this.slider.value) >= last) this.move(0, true);
    this.timer = setInterval(() => {
      const next = Number(this.slider.value) + 1;
      if (next >= last) this.pause(next);
      else this.move(next, true);
    }, PAUSE);
  }

  // Stop playing, at this place if one is given.
  pause(place = null) {
    if (!this.playing) return;
    clearInterval(this.timer);
    this.timer = 0;
    this.button.replaceChildren("Play");
    if (place !== null) this.move(Math.min(place, this.steps.length - 1), false);
    else this.stopped();
  }
}

export function short(count) {
  for (const [size, sign] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${sign}`;
  return String(count);
}
