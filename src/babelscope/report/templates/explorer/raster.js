// Two languages meet: the experts of a concept in both, layer by site.

import { GUTTER, paint } from "./canvas.js";
import { el, table } from "./dom.js";
import { byInterest, layout, marksOf, spot } from "./marks.js";
import { heading, panel } from "./panel.js";
import { number, percent } from "./text.js";

const LISTED = 60;
const NEAR = 12; // pixels from a mark that still mean it
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Raster {
  // open(unit, model): another unit is to be shown.
  constructor(study, open) {
    this.study = study;
    this.open = open;
    this.marks = [];
    this.cursor = null;
    this.legend = el("p", { class: "x-legend" });
    this.under = el("p", { class: "x-under", "aria-live": "polite" });
    this.canvas = el("canvas", {
      tabindex: "0", role: "img", class: "x-canvas",
      onkeydown: (event) => this.key(event), onclick: (event) => this.point(event, true),
      onmousemove: (event) => this.point(event, false), onblur: () => this.move(null),
    });
    this.list = el("div");
    Object.assign(this, panel(this.legend, el("div", { class: "x-plate" }, this.canvas), this.under, this.list));
    new ResizeObserver(() => this.node.clientWidth !== this.painted && this.paint()).observe(this.node);
    // Paper is light, whatever the screen is.
    for (const media of ["(prefers-color-scheme: dark)", "print"])
      matchMedia(media).addEventListener("change", () => this.paint());
  }

  async update(state, model) {
    const step = this.study.place(model, state);
    const [a, b] = [state.a, state.b].map((lang) => model.langs.indexOf(lang));
    const units = await this.study.units(model, state.c);
    this.title.replaceChildren(...heading(model, step));
    if (!units || a < 0 || b < 0) {
      const lacks = units ? `language ${a < 0 ? state.a : state.b}` : `concept ${state.c}`;
      this.told.replaceChildren(`This model has no ${lacks}.`);
      this.show([], model, state);
      return "";
    }
    const all = marksOf(units, step, a, b);
    const words = await this.words(state, model, step, all);
    this.told.replaceChildren(...words);
    this.show(filtered(all, model, state), model, state);
    return this.told.textContent;
  }

  async words(state, model, step, marks) {
    if (state.a === state.b) return [`The same language twice: its ${marks.length} experts of “${state.c}”.`];
    const cell = await this.study.overlap(model, step, state.c, state.a, state.b);
    if (!cell) return ["The overlap of this cell is not known."];
    const said = [
      el("b", {}, `${percent(cell.shared)} of the experts of “${state.c}” are the same units`),
      ` in ${state.a} and ${state.b} at step ${model.steps[step]}`,
    ];
    if (!Number.isNaN(cell.null))
      said.push(`. By chance, with another concept in the other language, it is ${percent(cell.null)}`,
        ` in the mean and ${percent(cell.most)} at most (the null)`);
    const matrix = await this.study.matrix(model);
    const at = [model.steps[step], -1, "disjoint_lines", state.a, state.b];
    const [mean, other] = ["overlap", "null"].map((measure) => matrix?.value(measure, ...at) ?? NaN);
    if (!Number.isNaN(mean))
      said.push(`. Over all ${model.concepts.length} concepts, with the experts of the two languages chosen on`,
        ` different sentences: ${percent(mean)}, null ${percent(other)}`);
    return [...said, "."];
  }

  show(marks, model, state) {
    Object.assign(this, { marks, model, state });
    const n = [marks.filter((m) => m.a && m.b), marks.filter((m) => !m.b), marks.filter((m) => !m.a)].map((m) => m.length);
    this.legend.replaceChildren(
      ...[["both", "in both"], ["a", `${state.a} alone`], ["b", `${state.b} alone`]].map(([key, words], at) =>
        el("span", {}, el("span", { class: `x-key x-${key}` }), ` ${words} (${n[at]})`)),
    );
    const words = `Units of ${model.name}: ${n[0]} experts in both, ${n[1]} in ${state.a} alone, ${n[2]} in ${state.b} alone. `;
    this.canvas.setAttribute("aria-label", `${words}Arrow keys go from expert to expert, Enter opens one. They are listed below.`);
    this.cursor = marks.find((mark) => mark.unit === this.cursor?.unit) ?? null;
    this.say();
    this.paint();
    this.fill();
  }

  paint() {
    if (!this.model || !this.node.clientWidth) return;
    const { layer, site } = this.state;
    const shown = this.model.sites.flatMap((each, at) =>
      (layer === "" || String(each[0]) === layer) && (site === "" || each[1] === site) ? [at] : [],
    );
    this.plan = layout(this.model.sites, shown, this.node.clientWidth - GUTTER - 2);
    this.painted = this.node.clientWidth;
    paint(this.canvas, this.plan, this.model, this.marks, this.cursor);
  }

  fill() {
    const { a, b } = this.state;
    const best = byInterest(this.marks);
    const head = ["unit", "languages", "expert in", `AP ${a}`, `AP ${b}`];
    const rows = best.slice(0, LISTED).map((mark) =>
      el("tr", {},
        el("th", { scope: "row" }, this.link(mark.unit), this.traced(mark.unit)),
        el("td", {}, `${mark.languages} of ${this.model.langs.length}`),
        el("td", {}, mark.a && mark.b ? "both" : mark.a ? a : b),
        el("td", { class: "num" }, number(mark.apA)), el("td", { class: "num" }, number(mark.apB)),
      ),
    );
    const caption = `Experts of ${this.state.c} in ${this.model.name}`;
    const more = best.length > LISTED ? `The first ${LISTED} of ${best.length}; filters show others.` : "";
    this.list.replaceChildren(
      best.length
        ? table(caption, head.map((name, at) => el("th", { scope: "col", class: at > 2 ? "num" : "" }, name)), rows, { class: "x-grid-of" })
        : el("p", { class: "missing" }, "No expert is left with these filters."),
      el("p", { class: "small" }, more),
    );
  }

  link(unit) {
    const name = this.model.names.name(unit);
    return el("button", { type: "button", class: "x-unit", onclick: () => this.open(name, this.model) }, name);
  }

  traced(unit) {
    return Object.hasOwn(this.model.traced, this.model.names.name(unit)) ? el("span", { class: "small" }, " with sentences") : "";
  }

  key(event) {
    if (event.key === "Enter" && this.cursor) this.open(this.model.names.name(this.cursor.unit), this.model);
    else if (event.key === "Escape") this.move(null);
    else if (ARROWS[event.key]) this.move(this.next(...ARROWS[event.key]));
    else return;
    event.preventDefault();
  }

  // The next mark: along the order of units, or up and down to the nearest of another site.
  next(along, down) {
    const marks = this.marks.filter((mark) => spot(this.plan, this.model.names, mark.unit));
    if (!this.cursor) return marks[0] ?? null;
    if (along) return marks[marks.indexOf(this.cursor) + along] ?? this.cursor;
    const [site, index] = this.model.names.place(this.cursor.unit);
    const others = marks.map((mark) => [mark, ...this.model.names.place(mark.unit)]);
    const beyond = others.filter((each) => (each[1] - site) * down > 0);
    const far = ([, at, i]) => Math.abs(at - site) * 1e9 + Math.abs(i - index);
    return beyond.sort((x, y) => far(x) - far(y))[0]?.[0] ?? this.cursor;
  }

  point(event, opens) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - GUTTER, event.clientY - box.top];
    const half = this.plan.cell / 2;
    let [best, least] = [null, Math.max(NEAR, this.plan.cell)];
    for (const mark of this.marks) {
      const at = spot(this.plan, this.model.names, mark.unit);
      const far = at ? Math.hypot(at.x + half - x, at.y + half - y) : Infinity;
      if (far < least) [best, least] = [mark, far];
    }
    if (opens && best) this.open(this.model.names.name(best.unit), this.model);
    else if (!opens && best !== this.cursor) this.move(best);
  }

  move(mark) {
    this.cursor = mark;
    this.say();
    this.paint();
  }

  say() {
    const mark = this.cursor;
    if (!mark) {
      this.under.replaceChildren("Point at a mark, or go through them with the arrow keys; a click or Enter opens its unit.");
      return;
    }
    const where = mark.a && mark.b ? "both" : mark.a ? this.state.a : this.state.b;
    this.under.replaceChildren(
      el("b", {}, this.model.names.name(mark.unit)),
      `: expert in ${where}, and in ${mark.languages} of ${this.model.langs.length} languages.`,
    );
  }
}

function filtered(marks, model, state) {
  return marks.filter((mark) => {
    const [layer, site] = model.sites[model.names.place(mark.unit)[0]];
    return (
      (state.layer === "" || String(layer) === state.layer) && (state.site === "" || site === state.site) &&
      mark.languages >= Number(state.min || 0)
    );
  });
}
