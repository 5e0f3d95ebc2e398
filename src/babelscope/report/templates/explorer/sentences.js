// Sentences with what a unit does on every token, at several steps.

import { el } from "./dom.js";
import { named, number, percent, shownPart, spoken, visible } from "./text.js";

const KINDS = { strongest: "Strongest", random: "At random", lowest: "Lowest" };
const FULL = 7; // value of four signed bits that is the unit's scale

// The rows of a block of traces for one unit, by language.
export function tracesOf(block, unit) {
  const at = block.header.units.indexOf(unit);
  const found = new Map();
  for (const [of, lang, kind, rank, step, text, positive, value, quantile, start] of block.header.rows) {
    if (of !== at) continue;
    if (!found.has(lang)) found.set(lang, new Map());
    const key = `${kind} ${rank} ${text}`;
    const here = found.get(lang);
    if (!here.has(key)) here.set(key, { kind, rank, text, positive, lang, steps: [] });
    here.get(key).steps.push({ step: block.header.steps[step], value, quantile, start });
  }
  return { scale: block.header.scale[at], langs: new Map([...found].map(([lang, rows]) => [lang, [...rows.values()]])) };
}

// Values of a text's tokens, -1 to 1 of the unit's scale.
export function valuesOf(block, start, length) {
  const bytes = block.arrays.values;
  return Array.from({ length }, (_, i) => {
    const at = start + i;
    return (((bytes[at >> 1] >> (4 * (at & 1))) & 15) - FULL - 1) / FULL;
  });
}

function summed(deltas) {
  let at = 0;
  return deltas.map((delta) => (at += delta));
}

// A text with its tokens shaded. Spans stay bare, so that letters join across them.
export function shaded(text, starts, ends, values, lang) {
  const peak = values.reduce((best, value, i) => (Math.abs(value) > Math.abs(values[best]) ? i : best), 0);
  const [from, to] = shownPart(text.length, starts[peak] ?? 0);
  const parts = [];
  let at = from;
  starts.forEach((start, i) => {
    const [first, last] = [Math.max(start, at), Math.min(ends[i], to)];
    if (first >= last) return;
    parts.push(visible(text.slice(at, first)));
    const share = Math.round(Math.abs(values[i]) * 100);
    const side = values[i] < 0 ? "x-token x-minus" : "x-token";
    parts.push(el("span", { class: side, "--v": share ? `${share}%` : null }, visible(text.slice(first, last))));
    at = last;
  });
  parts.push(visible(text.slice(at, to)));
  const left = text.length - (to - from);
  return [
    el("bdi", spoken(lang), parts),
    left > 0 ? el("span", { class: "small" }, ` … ${left} more characters`) : "",
  ];
}

// All sentences of a unit, a language each to unfold; `now` is the traced step that is nearest to the slider, `open`
// the set of languages that are unfolded.
export function sentences(block, unit, langs, now, open) {
  const traced = tracesOf(block, unit);
  const steps = shownSteps(block.header.steps, now);
  return langs.filter((lang) => traced.langs.has(lang)).map((lang) =>
    el("details", { class: "x-sentences", open: open.has(lang), ontoggle: (event) => open[event.target.open ? "add" : "delete"](lang) },
      el("summary", {}, named(lang)),
      Object.entries(KINDS).flatMap(([kind, title]) => {
        const rows = traced.langs.get(lang).filter((row) => row.kind === kind).sort((x, y) => x.rank - y.rank);
        return rows.length ? [el("h5", {}, title), ...rows.map((row) => sentence(block, row, steps, now))] : [];
      })),
  );
}

// Early, middle, late, and the one that the slider is at.
export function shownSteps(steps, now) {
  const few = [steps[0], steps[steps.length >> 1], steps.at(-1), now];
  return steps.filter((step) => few.includes(step));
}

function sentence(block, row, steps, now) {
  const [starts, ends] = block.header.bounds[row.text].map(summed);
  const text = block.header.texts[row.text];
  const lines = row.steps.filter(({ step }) => steps.includes(step)).sort((x, y) => x.step - y.step);
  return el("div", { class: "x-sentence" },
    lines.map(({ step, value, quantile, start }) =>
      el("p", { class: step === now ? "x-line-of x-at" : "x-line-of" },
        el("span", { class: "x-step" }, `step ${step}`),
        el("span", { class: "x-text" }, shaded(text, starts, ends, valuesOf(block, start, starts.length), row.lang)),
        el("span", { class: "x-value" }, number(value), above(quantile)))),
    el("p", { class: "small" }, about(block.header.concept, row.positive)));
}

// Of the other sentences of its language how many are lower; never rounded up to all.
function above(quantile) {
  if (quantile === null) return "";
  return quantile === 1 ? ", above all" : `, above ${percent(Math.floor(quantile * 100) / 100)}`;
}

function about(concept, positive) {
  if (!concept) return "";
  return positive ? `a sentence of “${concept}”` : `not a sentence of “${concept}”`;
}
