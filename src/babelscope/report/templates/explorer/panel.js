// What every view is made of: a panel with the name of its model, what it says, and its parts.

import { el } from "./dom.js";
import { short } from "./text.js";

// The panel of a view: `title` and `told` change with the state, below them stand the parts.
export function panel(...parts) {
  const title = el("h3", { class: "x-model" });
  const told = el("p", { class: "x-words" });
  return { title, told, node: el("div", { class: "x-panel" }, title, told, ...parts) };
}

// Name of a model, with the step that it is shown at, marked if the audit flags it.
export function heading(model, at) {
  const step = model.steps[at];
  const reason = model.flagged[step];
  const tokens = model.tokens ? ` · ${short(model.tokens[at])} tokens` : "";
  return [
    `${model.label} `, el("span", { class: "small" }, `step ${step}${tokens}`),
    reason === undefined ? "" : el("span", { class: "x-flag", title: reason }, " ⚠ flagged by the audit"),
  ];
}
