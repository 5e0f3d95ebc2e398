// Where one is, as a URL fragment: #/raster?m=...&s=512&c=house&a=en&b=zh
//
// Names, never places in a list; only what differs from the default. What is not known is left out, and the
// page says what it took instead.

import { visible } from "./text.js";

export const VIEWS = ["raster", "unit", "matrix", "layers"];
const KEYS = ["m", "w", "s", "c", "a", "b", "l", "v", "k", "layer", "site", "script", "min"];
export const MEASURES = ["overlap", "null", "calibrated"];
export const VARIANTS = ["disjoint_lines", "same_lines"];
export const SCRIPTS = ["same", "other"];

export function defaults(study) {
  const model = study.models[0];
  const { unit, concept, a, b } = model.start;
  return {
    view: "raster", unit, m: model.name, w: "", s: model.steps.at(-1), c: concept, a, b, v: VARIANTS[0], k: MEASURES[0],
    l: "", layer: "", site: "", script: "", min: "",
  };
}

// The fragment of a state; with `hash` it says which study it is of.
export function format(state, study, hash = "") {
  const usual = defaults(study);
  const model = study.model(state.m);
  if (model) usual.s = model.steps.at(-1);
  const pairs = KEYS.filter((key) => String(state[key]) !== String(usual[key])).map((key) => [key, state[key]]);
  if (hash) pairs.push(["f", hash]);
  const path = state.view === "unit" ? `unit/${encodeURIComponent(state.unit)}` : state.view;
  const query = new URLSearchParams(pairs).toString().replaceAll("%2C", ",");
  return `#/${path}${query ? `?${query}` : ""}`;
}

const LONGEST = 300; // characters of a note, which may hold what a link says

// A state and what there is to say of it; null if the fragment is not one of ours, as those of headings. `unit` is the one
// to stay with if the fragment names none that is there.
export function parse(fragment, study, unit = "") {
  if (!fragment.startsWith("#/")) return null;
  const [path, query = ""] = fragment.slice(2).split(/\?(.*)/su);
  const given = new URLSearchParams(query);
  const state = defaults(study);
  const notes = [];
  const [view, ...rest] = path.split("/");
  if (VIEWS.includes(view)) state.view = view;
  else if (view) notes.push(`There is no view “${view}”; this is the first one.`);
  const known = {
    m: study.models.map((model) => model.name), w: study.models.map((model) => model.name), c: study.concepts,
    a: study.languages, b: study.languages, v: VARIANTS, k: MEASURES, script: SCRIPTS,
  };
  for (const [key, values] of Object.entries(known)) {
    const value = given.get(key);
    if (value === null || value === "") continue;
    if (values.includes(value)) state[key] = value;
    else notes.push(`This study has no ${WORDS[key]} “${value}”.`);
  }
  const model = study.model(state.m);
  state.s = model.steps.at(-1);
  readStep(given.get("s"), model, state, notes);
  takeOwn(given, model, state, notes);
  readLanguages(given.get("l"), study, state, notes);
  readPlaces(given, model, state, notes);
  if (state.view === "unit" && unit) readUnit(unit, model, state, []);
  if (state.view === "unit") readUnit(rest.join("/"), model, state, notes);
  if (given.get("f") && given.get("f") !== study.hash)
    notes.push("This link was made in the page of another study, or of other results: what it shows may differ.");
  return { state, notes: notes.map((note) => visible(note.slice(0, LONGEST))) };
}

const WORDS = {
  m: "model", w: "model", c: "concept", a: "language", b: "language", v: "variant", k: "measure", script: "filter",
};

// What a model of another study lacks, it has of its own.
function takeOwn(given, model, state, notes) {
  const { concept, a, b, unit } = model.start;
  const own = { c: [model.concepts, concept], a: [model.langs, a], b: [model.langs, b] };
  for (const [key, [values, instead]] of Object.entries(own)) {
    if (values.includes(state[key])) continue;
    if (given.get(key) === state[key])
      notes.push(`${model.name} has no ${WORDS[key]} “${state[key]}”; this is “${instead}”.`);
    state[key] = instead;
  }
  if (model.names.number(state.unit) < 0) state.unit = unit;
}

// Only these languages, by commas, in the order of the study; empty for all.
function readLanguages(text, study, state, notes) {
  if (!text) return;
  const asked = new Set(text.split(","));
  for (const lang of asked) if (!study.languages.includes(lang)) notes.push(`This study has no language “${lang}”.`);
  const known = study.languages.filter((lang) => asked.has(lang));
  if (known.length < study.languages.length) state.l = known.join(",");
}

function readStep(text, model, state, notes) {
  if (text === null) return;
  const wanted = Number(text);
  if (text.trim() === "" || !Number.isFinite(wanted)) {
    notes.push(`“${text}” is no step.`);
    return;
  }
  state.s = model.steps[nearest(model.steps, wanted)];
  if (state.s !== wanted) notes.push(`There is no step ${wanted} of ${model.name}; this is ${state.s}, the nearest.`);
}

function readPlaces(given, model, state, notes) {
  const known = {
    layer: new Set(model.sites.map(([layer]) => String(layer))),
    site: new Set(model.sites.map(([, site]) => site)),
  };
  for (const [key, values] of Object.entries(known)) {
    const value = given.get(key);
    if (value && values.has(value)) state[key] = value;
    else if (value) notes.push(`${model.name} has no ${key} “${value}”.`);
  }
  const min = given.get("min");
  const most = model.langs.length;
  if (/^\d{1,3}$/u.test(min ?? "") && Number(min) <= most) state.min = String(Number(min));
  else if (min) notes.push(`“${min}” is no number of languages: ${model.name} has ${most}.`);
}

function readUnit(text, model, state, notes) {
  let name = text;
  try {
    name = decodeURIComponent(text);
  } catch {
    // Not encoded: taken as it stands.
  }
  const number = model.names.number(name);
  if (number >= 0) state.unit = model.names.name(number);
  else if (name) notes.push(`${model.name} has no unit “${name}”; this is ${state.unit}.`);
}

// Place of the nearest of rising steps.
export function nearest(steps, wanted) {
  let best = 0;
  steps.forEach((step, at) => {
    if (Math.abs(step - wanted) < Math.abs(steps[best] - wanted)) best = at;
  });
  return best;
}
