// What one chooses by: a view, models, a concept, languages, filters. Each view shows those that it heeds.

import { choice, el } from "./dom.js";
import { MEASURE_WORDS } from "./matrix.js";
import { defaults, format, MEASURES, VARIANTS, VIEWS } from "./state.js";
import { named } from "./text.js";

const TITLES = { raster: "Two languages meet", unit: "One unit", matrix: "Languages", layers: "Layers" };
const HEEDED = {
  m: VIEWS, w: VIEWS, c: ["raster", "unit"], a: ["raster"], b: ["raster"], unit: ["unit"], min: ["raster"],
  site: ["raster"], layer: ["raster", "matrix"], l: ["unit", "matrix"], v: ["matrix", "layers"], k: ["matrix", "layers"], script: ["matrix"],
};
const FIRST = ["m", "c", "a", "b", "k"];
const SECOND = ["w", "min", "layer", "site", "script", "v"];
const LABELS = {
  m: "Model", w: "Beside it", c: "Concept", a: "Language", b: "and", min: "Shared by", site: "Site",
  layer: "Layer", v: "Sentences", k: "Measure", script: "Pairs",
};
const VARIANT_WORDS = { disjoint_lines: "different ones for each language", same_lines: "the same ones" };

export class Controls {
  // go(patch): another state is wanted. copy(): a link to this state.
  constructor(study, go, copy) {
    this.study = study;
    this.go = go;
    this.tabs = new Map(VIEWS.map((view) => [view, el("a", { class: "x-tab" }, TITLES[view])]));
    this.choices = new Map(Object.entries(LABELS).map(([key, label]) => [key, choice(label, (value) => go({ [key]: value }))]));
    this.unit = el("input", {
      type: "text", list: "x-units", spellcheck: "false", autocomplete: "off", size: "22",
      onchange: () => {
        this.told = ""; // the field is to say what is shown, whatever was typed
        go({ view: "unit", ...this.asked(this.unit.value.trim()) });
      },
    });
    this.offered = el("datalist", { id: "x-units" });
    this.unitField = el("label", { class: "x-field" }, el("span", {}, "Unit"), this.unit, this.offered);
    this.copied = el("span", { class: "small", role: "status" });
    this.langs = el("fieldset", { class: "x-langs", onchange: () => go({ l: this.ticked() }) });
    const fields = (keys) => keys.map((key) => this.choices.get(key).node);
    this.more = el("details", { class: "x-more" }, el("summary", {}, "Compare and filter"),
      el("div", { class: "x-fields" }, fields(SECOND), this.langs));
    this.node = el("div", { class: "x-controls" },
      el("nav", { class: "x-tabs", "aria-label": "Views" }, [...this.tabs.values()]),
      el("div", { class: "x-fields" }, this.unitField, fields(FIRST),
        el("button", { type: "button", class: "x-copy", onclick: copy }, "Copy link"), this.copied),
      this.more);
  }

  ticked() {
    return [...this.langs.querySelectorAll("input:checked")].map((box) => box.value).join(",");
  }

  offerLanguages(state, model) {
    const told = model.langs.join(" ");
    if (this.offeredLangs !== told)
      this.langs.replaceChildren(el("legend", {}, "Only these languages"), ...model.langs.map((lang) =>
        el("label", {}, el("input", { type: "checkbox", value: lang }), named(lang))));
    this.offeredLangs = told;
    const asked = state.l.split(",");
    for (const box of this.langs.querySelectorAll("input")) box.checked = asked.includes(box.value);
    this.langs.hidden = !HEEDED.l.includes(state.view) || model.langs.length < 3;
  }

  // What was typed: a unit, with the concept that it is offered for; or a concept, for the best unit that is offered.
  asked(typed) {
    const found = this.followed.find(([name]) => name === typed) ?? this.followed.find(([, concept]) => concept === typed);
    return found ? { unit: found[0], c: found[1] } : { unit: typed };
  }

  update(state, model) {
    this.followed = model.followed;
    const usual = defaults(this.study);
    for (const [view, tab] of this.tabs) {
      tab.href = format({ ...state, view }, this.study);
      if (view === state.view) tab.setAttribute("aria-current", "page");
      else tab.removeAttribute("aria-current");
    }
    this.copied.replaceChildren();
    const { s, ...others } = state;
    const told = JSON.stringify(others);
    if (told === this.told) return; // another step changes none of these
    this.told = told;
    for (const [key, options] of Object.entries(this.options(state, model))) {
      const { node, offer } = this.choices.get(key);
      offer(options, state[key]);
      node.hidden = !HEEDED[key].includes(state.view) || options.length < 2;
    }
    this.offerLanguages(state, model);
    this.more.hidden = this.langs.hidden && SECOND.every((key) => this.choices.get(key).node.hidden);
    if ([...SECOND, "l"].some((key) => HEEDED[key].includes(state.view) && state[key] !== usual[key])) this.more.open = true;
    this.unitField.hidden = state.view !== "unit";
    this.unit.value = state.unit;
    this.offered.replaceChildren(...model.followed.map(([name, concept, n]) =>
      el("option", { value: name }, `${concept}, ${n} languages at the end`)));
  }

  options(state, model) {
    const same = (values) => values.map((value) => [value, value]);
    const langs = model.langs.map((lang) => [lang, named(lang)]);
    const unique = (values) => [...new Set(values)].map(String);
    const { models, scripts } = this.study;
    const counts = model.langs.map((_, at) => at + 1).filter((n) => n > 1);
    return {
      m: models.map((each) => [each.name, each.label]),
      w: [["", "none"], ...same(models.map((each) => each.name).filter((name) => name !== state.m))],
      c: same(model.concepts), a: langs, b: langs,
      min: [["", "any"], ...counts.map((n) => [String(n), `${n} languages or more`])],
      site: [["", "all"], ...same(unique(model.sites.map(([, site]) => site)))],
      layer: [["", "all"], ...same(unique(model.sites.map(([layer]) => layer)))],
      v: VARIANTS.map((name) => [name, VARIANT_WORDS[name]]),
      k: MEASURES.map((name) => [name, MEASURE_WORDS[name]]),
      script: Object.keys(scripts).length ? [["", "all"], ["same", "of one script"], ["other", "of two scripts"]] : [["", "all"]],
    };
  }
}
