// How the numbers of a view are made: formula and null, and the lines that give the same numbers in a notebook.

import { el } from "./dom.js";

const AP = "AP = (1/P) · Σ over the P sentences i of the concept of (its sentences with a value ≥ that of i) / (all sentences with a value ≥ that of i)";
const NULL = "Null: different concepts in the two languages.";

const text = (value) => JSON.stringify(value);

const FORMULAS = {
  raster: (k, n) => `An expert of a concept in a language is one of the ${k} of ${n} units with the highest average precision, ${AP}, here over all sentences. Shared = units that are experts in both languages / ${k}. The null is the same with the concept in the one language and each other concept in the other language, both ways: its mean, and the highest of these.`,
  unit: (k, n) => `${AP}, over all sentences of the language; a value is the unit's, pooled over a sentence. An expert is one of the ${k} of ${n} units with the highest. Chance: AP of scores in random order. Null of the best unit: every language has another concept, and of all units the one is taken that is best in its worst language, chosen on one half of the sentences and measured on the other.`,
  matrix: (k) => `Overlap = units that are experts of a concept in both languages / K, mean over concepts; K is ${k} in the whole model and in proportion to its units in a layer. Different sentences: the experts of the one language are chosen on one half of them, those of the other on the other half. ${NULL} Overlap above its null = (overlap - null) / (1 - null). The table of overlap has intervals and p-values.`,
  layers: (k) => `Overlap = units that are experts of a concept in both languages / K, mean over concepts and pairs of different languages, experts chosen within each layer; K is ${k} in the whole model and in proportion to its units in a layer. ${NULL} Overlap above its null = (overlap - null) / (1 - null). The table of overlap has intervals and p-values.`,
};

const SHOWN = `[["layer", "lang_a", "lang_b", "overlap", "low", "high", "null"]]`;
const NOTEBOOKS = {
  raster: ({ c, a, b }, model, step, k) => [
    `experts = study.experts(concept=${text(c)}, step=${step}, model=${text(model)})`,
    `units = experts.groupby("lang")["name"].agg(set)`,
    `len(units[${text(a)}] & units[${text(b)}]) / ${k}`,
  ],
  unit: ({ c, unit }, model) => [
    `rows = study.unit(${text(unit)}).expert_of  # where it is an expert`,
    `rows[(rows["model"] == ${text(model)}) & (rows["concept"] == ${text(c)}) & (rows["subset"] == "all") & (rows["scope"] == "model")]`,
  ],
  matrix: ({ v, layer }, model, step) => [
    "rows = study.table(\"overlap\")",
    `rows = rows[(rows["model"] == ${text(model)}) & (rows["step"] == ${step}) & (rows["variant"] == ${text(v)})]`,
    `rows[${layer === "" ? `rows["scope"] == "model"` : `(rows["scope"] == "layer") & (rows["layer"] == ${layer})`}]${SHOWN}`,
  ],
  layers: ({ v }, model, step) => [
    "rows = study.table(\"overlap\")",
    `rows = rows[(rows["model"] == ${text(model)}) & (rows["step"] == ${step}) & (rows["variant"] == ${text(v)})]`,
    `rows[(rows["lang_a"] == "*") & rows["scope"].isin(["layer", "model"])]${SHOWN}`,
  ],
};

// Formula and lines of a notebook for a state of a model at a step.
export function howMade(study, state, model, step) {
  // In a page of several studies a model is called study/model.
  const [folder, name] = model.name.includes("/") ? split(model.name) : [study.study, model.name];
  const lines = ["import babelscope as bs", `study = bs.open_study(${text(`results/${folder}`)})`];
  return {
    formula: FORMULAS[state.view](model.k, model.names.size),
    notebook: [...lines, ...NOTEBOOKS[state.view](state, name, step, model.k)].join("\n"),
  };
}

function split(name) {
  const at = name.indexOf("/");
  return [name.slice(0, at), name.slice(at + 1)];
}

// What stands below every view, folded.
export class How {
  constructor(study) {
    this.study = study;
    this.formula = el("p");
    this.notebook = el("pre", { tabindex: "0", "aria-label": "Lines of a notebook" });
    const settings = document.getElementById("setup") ? el("p", {}, "All settings of the study stand under ", el("a", { href: "#setup" }, "Setup"), ".") : "";
    this.node = el("details", { class: "x-how" }, el("summary", {}, "How these numbers are made"),
      this.formula, el("p", {}, "In a notebook, beside the folder of results:"), this.notebook, settings);
  }

  update(state, model, step) {
    const { formula, notebook } = howMade(this.study, state, model, step);
    this.formula.replaceChildren(formula);
    this.notebook.replaceChildren(notebook);
  }
}
