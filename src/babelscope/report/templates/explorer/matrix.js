// Languages by languages: what they share of their experts.

import { el, table } from "./dom.js";
import { heading, panel } from "./panel.js";

export const MEASURE_WORDS = { overlap: "overlap", null: "null: other concepts", calibrated: "overlap above its null" };

export class MatrixView {
  // go(patch): another state is wanted.
  constructor(study, go) {
    this.study = study;
    this.go = go;
    this.grid = el("div");
    Object.assign(this, panel(this.grid));
  }

  async update(state, model) {
    const at = this.study.place(model, state);
    const matrix = await this.study.matrix(model);
    this.title.replaceChildren(...heading(model, at));
    const layer = state.layer === "" ? -1 : Number(state.layer);
    if (!matrix) {
      this.told.replaceChildren("The overlap of languages is not known of this model.");
      this.grid.replaceChildren();
      return "";
    }
    const read = (a, b, measure = state.k) => matrix.value(measure, model.steps[at], layer, state.v, a, b);
    const where = layer < 0 ? "all layers" : `layer ${layer}`;
    const langs = this.study.langs(model, state).map((place) => model.langs[place]);
    const mean = read("*", "*");
    const said = `${MEASURE_WORDS[state.k]}, ${where}, step ${model.steps[at]}`;
    this.told.replaceChildren(
      el("b", {}, Number.isNaN(mean) ? "No mean" : mean.toFixed(3)), ` in the mean over ${langs.length < model.langs.length || state.script ? "all " : ""}pairs of different languages: ${said}`,
      state.k === "overlap" ? `, null ${read("*", "*", "null").toFixed(3)}` : "", ".",
    );
    const most = matrix.highest(state.k, state.v);
    const head = ["", ...langs].map((lang) => el("th", { scope: "col", class: lang && "num" }, lang || el("span", { class: "hidden" }, "language")));
    const rows = langs.map((a) =>
      el("tr", {}, el("th", { scope: "row" }, a), langs.map((b) => this.cell(state, a, b, read(a, b), most))));
    this.grid.replaceChildren(
      table(`${said}, ${model.name}`, head, rows, { class: "x-matrix" }),
      el("p", { class: "small" }, `Shades go from 0 to ${most.toFixed(3)}, the highest of different languages at any step, in any layer. On the diagonal a language with itself on disjoint halves of the sentences, the ceiling. A cell opens its pair.`),
    );
    return this.told.textContent;
  }

  cell(state, a, b, value, most) {
    if (Number.isNaN(value) || !this.fits(state.script, a, b)) return el("td", { class: "num" }, "–");
    const text = value.toFixed(2);
    const share = Math.round(45 * Math.min(1, Math.max(0, value / (most || 1))));
    const inside = a === b ? text
      : el("button", { type: "button", class: "x-unit", "aria-label": `${a} and ${b}: ${text}`, onclick: () => this.go({ view: "raster", a, b }) }, text);
    return el("td", { class: "num x-shade", "--v": `${share}%` }, inside);
  }

  // Whether a pair is of the kind that is asked for; a language with itself always is.
  fits(wanted, a, b) {
    if (wanted === "" || a === b) return true;
    const [one, other] = [this.study.scripts[a], this.study.scripts[b]];
    return one !== undefined && other !== undefined && (one === other) === (wanted === "same");
  }
}
