// Layers by steps: where and when languages share experts.

import { el, inSight, table } from "./dom.js";
import { MEASURE_WORDS } from "./matrix.js";
import { heading } from "./raster.js";
import { nearest } from "./state.js";

export class LayersView {
  // go(patch): another state is wanted.
  constructor(study, go) {
    this.study = study;
    this.go = go;
    this.title = el("h3", { class: "x-model" });
    this.told = el("p", { class: "x-words" });
    this.grid = el("div");
    this.node = el("div", { class: "x-panel" }, this.title, this.told, this.grid);
  }

  async update(state, model) {
    const now = nearest(model.steps, state.s);
    const matrix = await this.study.matrix(model);
    this.title.replaceChildren(...heading(model, now));
    if (!matrix) {
      this.told.replaceChildren("The overlap by layer is not known of this model.");
      this.grid.replaceChildren();
      return "";
    }
    const step = model.steps[now];
    const read = (layer, at) => matrix.value(state.k, at, layer, state.v, "*", "*");
    const layers = matrix.layers.filter((layer) => layer >= 0);
    const there = layers.filter((layer) => !Number.isNaN(read(layer, step)));
    const top = there.reduce((best, layer) => (read(layer, step) > read(best, step) ? layer : best), there[0]);
    this.told.replaceChildren(
      ...(top === undefined ? ["No layer is known at this step."]
        : [`At step ${step} languages share most in `, el("b", {}, `layer ${top}`), ` (${read(top, step).toFixed(3)}; ${MEASURE_WORDS[state.k]}, mean over pairs of different languages, experts chosen within the layer).`]),
    );
    const most = Math.max(0, ...matrix.layers.flatMap((layer) => matrix.steps.map((at) => read(layer, at) || 0)));
    const head = [el("th", { scope: "col" }, "layer"), ...model.steps.map((at) => this.column(model, at, step))];
    const rows = [...layers.toReversed(), -1].map((layer) =>
      el("tr", {}, el("th", { scope: "row" }, layer < 0 ? "all" : String(layer)), model.steps.map((at) => {
        const value = read(layer, at);
        const share = Number.isNaN(value) ? 0 : Math.round((45 * Math.max(0, value)) / (most || 1));
        return el("td", { class: `num x-shade${at === step ? " x-at" : ""}`, "--v": `${share}%` }, Number.isNaN(value) ? "–" : value.toFixed(2));
      })));
    this.grid.replaceChildren(
      table(`${MEASURE_WORDS[state.k]} by layer and step, ${model.name}`, head, rows, { class: "x-matrix" }),
      el("p", { class: "small" }, `Shades go from 0 to ${most.toFixed(3)}.`),
    );
    inSight(this.grid);
    return this.told.textContent;
  }

  column(model, at, step) {
    return el("th", { scope: "col", class: at === step ? "num x-at" : "num", "aria-current": at === step ? "step" : null },
      el("button", { type: "button", class: "x-unit", onclick: () => this.go({ s: at }) }, String(at)),
      at in model.flagged ? el("span", { class: "x-flag", title: model.flagged[at] }, " ⚠") : "");
  }
}
