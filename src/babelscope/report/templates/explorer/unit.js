// One unit: its life line, its AP by language over steps, its sentences, what is written when experts are forced.

import { chart, hue } from "./chart.js";
import { el, inSight, table } from "./dom.js";
import { heading, panel } from "./panel.js";
import { sentences } from "./sentences.js";
import { nearest } from "./state.js";
import { number, spoken, visible } from "./text.js";

const WRITTEN = 12; // texts that are shown

export class UnitView {
  // go(patch): another state is wanted.
  constructor(study, go) {
    this.study = study;
    this.go = go;
    this.unfolded = new Set(study.models.flatMap(({ start }) => [start.a, start.b])); // languages whose sentences are
    this.parts = Object.fromEntries(["line", "grid", "concepts", "traces", "texts"].map((name) => [name, el("div")]));
    Object.assign(this, panel(...Object.values(this.parts)));
  }

  async update(state, model) {
    const now = this.study.place(model, state);
    const unit = model.names.number(state.unit);
    const units = await this.study.units(model, state.c);
    this.title.replaceChildren(...heading(model, now));
    if (unit < 0 || !units) {
      this.told.replaceChildren(unit < 0 ? `${model.name} has no unit ${state.unit}.` : `${model.name} has no concept ${state.c}.`);
      Object.values(this.parts).forEach((part) => part.replaceChildren());
      return "";
    }
    const life = lifeOf(units, unit, model);
    this.told.replaceChildren(...words(life, state, model, now));
    const key = [model.name, state.c, state.unit].join(" ");
    const most = await this.highest(state);
    this.parts.line.replaceChildren(lines(life, state, model, now, this.study, this.node.clientWidth, most));
    this.parts.grid.replaceChildren(...this.grid(life, state, model, now, units.depth));
    inSight(this.parts.grid);
    await this.concepts(unit, state, model, now);
    await this.traces(state, model, now);
    if (key !== this.shown) await this.texts(state, model);
    this.shown = key;
    return this.told.textContent;
  }

  // The highest AP of the unit in any of the models that stand side by side: their charts have one scale.
  async highest(state) {
    const models = [state.m, state.w].map((name) => this.study.model(name)).filter(Boolean);
    const found = await Promise.all(models.map(async (model) => {
      const [units, unit] = [await this.study.units(model, state.c), model.names.number(state.unit)];
      return units && unit >= 0 ? lifeOf(units, unit, model).cells.flat().map((cell) => cell?.ap ?? 0) : [0];
    }));
    return Math.max(...found.flat());
  }

  grid(life, state, model, now, depth) {
    const head = [
      el("th", { scope: "col" }, "language"),
      ...model.steps.map((step, at) =>
        el("th", { scope: "col", class: at === now ? "num x-at" : "num", "aria-current": at === now ? "step" : null },
          el("button", { type: "button", class: "x-unit", onclick: () => this.go({ s: step }) }, String(step)),
          step in model.flagged ? el("span", { class: "x-flag" }, " ⚠") : "")),
    ];
    const rows = this.study.langs(model, state).map((l) =>
      el("tr", {}, el("th", { scope: "row" }, model.langs[l]),
        life.cells[l].map((cell, at) =>
          el("td", { class: `num x-shade${at === now ? " x-at" : ""}`, "--v": `${shadeOf(cell)}%` },
            cell === null ? "–" : `${cell.expert ? "● " : ""}${cell.kept ? "" : "≤ "}${cell.ap.toFixed(2)}`))));
    const total = el("tr", {}, el("th", { scope: "row" }, "expert in"),
      life.counts.map((count, at) => el("td", { class: at === now ? "num x-at" : "num" }, `${count} of ${model.langs.length}`)));
    return [
      table(`Average precision of ${state.unit} for ${state.c} in ${model.name}`, head, [...rows, total], { class: "x-grid-of" }),
      el("p", { class: "small" }, `● among the ${model.k} experts of the concept. ≤: below the best ${depth}, so at most this.`),
    ];
  }

  // Of which concepts the unit is an expert at this step, and in how many languages.
  async concepts(unit, state, model, now) {
    const all = await Promise.all(model.concepts.map((concept) => this.study.units(model, concept)));
    const found = all
      .map((units, at) => [model.concepts[at], model.langs.filter((_, l) => units?.find(now, l, unit)?.expert).length])
      .filter(([, n]) => n > 0)
      .sort((x, y) => y[1] - x[1]);
    const items = found.map(([concept, n]) =>
      el("li", {}, el("button", { type: "button", class: "x-unit", onclick: () => this.go({ c: concept }) }, concept), ` in ${n} of ${model.langs.length} languages`));
    this.parts.concepts.replaceChildren(
      el("h4", {}, `What it is an expert of at step ${model.steps[now]}`),
      items.length ? el("ul", { class: "x-concepts" }, items) : el("p", { class: "small" }, "Of no concept, in no language."),
    );
  }

  async traces(state, model, now) {
    const block = await this.study.traces(model, state.unit);
    const head = el("h4", {}, "Its sentences");
    if (!block) {
      const why = this.study.traces_missing || "This unit was not traced; those that were are marked in the lists of units.";
      this.parts.traces.replaceChildren(head, el("p", { class: "missing" }, why));
      return;
    }
    const step = block.header.steps[nearest(block.header.steps, model.steps[now])];
    this.parts.traces.replaceChildren(
      head,
      el("p", {}, block.header.concept ? `On show for “${block.header.concept}”. ` : "", block.header.concept === state.c ? "" : "Its sentences are the same whatever concept is chosen above."),
      el("p", { class: "small" }, "Shaded is what the unit does on every token: the stronger the shade, the higher its value, by one scale for all its sentences; with a line below, values under zero. Beside it stand its value for the whole sentence and the share of the language's sentences that it is above. Strongest ones alone would flatter it, so sentences at random and its lowest ones stand beside them."),
      ...sentences(block, state.unit, this.study.langs(model, state).map((l) => model.langs[l]), step, this.unfolded),
    );
  }

  async texts(state, model) {
    const rows = (await this.study.texts(model)) ?? [];
    const fitting = rows.filter(([, condition, , concept]) => condition === "forced" && concept === state.c);
    const last = Math.max(...fitting.map(([step]) => step));
    const shown = fitting.filter(([step]) => step === last).slice(0, WRITTEN);
    const head = el("h4", {}, `What the model writes when the experts of “${state.c}” are forced`);
    if (!shown.length) {
      this.parts.texts.replaceChildren(head, el("p", { class: "missing" }, "The study has no such texts of this concept."));
      return;
    }
    const lines = shown.map(([, , lang, , text, found, hits]) =>
      el("tr", {}, el("th", { scope: "row" }, lang), el("td", { class: "text" }, el("bdi", spoken(found), visible(text))),
        el("td", { class: "num" }, String(hits))));
    this.parts.texts.replaceChildren(
      head,
      el("p", { class: "small" }, `All experts of a language together, of which this unit may be one; step ${last}. A sample, not chosen.`),
      table(`Texts with forced experts of ${state.c} in ${model.name}`,
        ["experts of", "text", "words of it"].map((name, at) => el("th", { scope: "col", class: at === 2 ? "num" : "" }, name)), lines),
    );
  }
}

// What is known of a unit and a concept: cells by language and step, languages that it is an expert in by step.
export function lifeOf(units, unit, model) {
  const cells = model.langs.map((_, lang) => model.steps.map((_, step) => units.find(step, lang, unit)));
  const counts = model.steps.map((_, step) => cells.filter((of) => of[step]?.expert).length);
  return { cells, counts, first: counts.findIndex((count) => count >= 2) };
}

function words({ counts, first }, state, model, now) {
  const of = model.langs.length;
  const said = [el("b", {}, state.unit), ` is an expert of “${state.c}” in ${counts[now]} of ${of} languages at step ${model.steps[now]}`];
  if (first >= 0) said.push(`. Two languages first share it at step ${model.steps[first]}, most at step ${model.steps[counts.indexOf(Math.max(...counts))]} (${Math.max(...counts)})`);
  else said.push(". No two languages share it at any step");
  return [...said, "."];
}

function lines(life, state, model, now, study, width, most) {
  const series = study.langs(model, state).map((l) => ({
    name: model.langs[l], hue: hue(l, model.langs.length),
    values: life.cells[l].map((cell) => cell && { value: cell.ap, known: cell.kept }),
  }));
  const chances = model.langs.map((lang) => model.chance[lang]?.[model.concepts.indexOf(state.c)]).filter((v) => v !== undefined);
  const mean = chances.reduce((a, b) => a + b, 0) / Math.max(1, chances.length);
  const nulls = Object.hasOwn(model.nulls, state.c) ? model.nulls[state.c] : null;
  const guides = [];
  if (chances.length) guides.push({ kind: "x-guide", values: model.steps.map(() => mean) });
  if (nulls?.some((value) => value !== null)) guides.push({ kind: "x-guide x-null", values: nulls });
  const known = nulls && nulls[now] !== null;
  const flagged = model.steps.flatMap((step, at) => (step in model.flagged ? [at] : []));
  const label = `Average precision of ${state.unit} for ${state.c} over steps, a line per language; the table below has the numbers`;
  return el("figure", { class: "x-figure" },
    chart(label, study.ticks(model), series, guides, now, flagged, Math.min(760, Math.max(300, width)), most),
    el("figcaption", {}, `Average precision for “${state.c}” over ${study.axis === "tokens" ? "tokens seen (logarithmic, one axis for all models)" : "steps (not to scale)"}, a line per language. Hollow: at most this. Dashed: ${number(mean)}, that of random scores on half of the sentences; the best of ${model.names.size} units lies above it even if none knows the concept.${nulls ? ` Dotted: the null of the best unit, ${known ? `${number(nulls[now])} at step ${model.steps[now]}, ` : ""}what the best of all units has in its worst language when the languages' concepts are permuted.` : ""}`));
}

function shadeOf(cell) {
  return cell?.kept ? Math.round(cell.ap * 45) : 0;
}
