// A line chart over steps, a line per series; steps stand at equal distances.

import { svg } from "./dom.js";

const SIZE = { height: 260, left: 40, right: 58, top: 12, bottom: 30 };
const LABEL = 46; // pixels that a step takes below the line

// series: [{ name, values: [{ value, known }], hue }], values by step; null where there is none.
// guides: [{ name, value }] lines across. now: place of the current step. flagged: places that are marked.
// width: pixels that there are.
export function chart(label, steps, series, guides, now, flagged, width) {
  const { height, left, right, top, bottom } = SIZE;
  const values = [...series.flatMap((s) => s.values.filter(Boolean).map((v) => v.value)), ...guides.map((g) => g.value)];
  const most = Math.max(0.05, ...values) * 1.05;
  const x = (at) => left + (steps.length < 2 ? 0.5 : at / (steps.length - 1)) * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const every = Math.ceil((steps.length * LABEL) / (width - left - right));
  const parts = flagged.map((at) =>
    svg("rect", { class: "x-flagged", x: x(at) - 6, width: 12, y: top, height: height - top - bottom }),
  );
  for (const at of ticks(most)) {
    parts.push(svg("line", { class: "x-grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    parts.push(svg("text", { class: "x-tick", x: left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  }
  steps.forEach((step, at) => {
    if ((steps.length - 1 - at) % every === 0)
      parts.push(svg("text", { class: "x-tick", x: x(at), y: height - 10, "text-anchor": "middle" }, String(step)));
  });
  parts.push(svg("line", { class: "x-now", x1: x(now), x2: x(now), y1: top, y2: height - bottom }));
  for (const { value } of guides)
    parts.push(svg("line", { class: "x-guide", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
  for (const each of series) parts.push(...line(each, x, y));
  parts.push(...labels(series, width - right + 8, y));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "x-chart", role: "img", "aria-label": label }, parts);
}

function line({ values, hue }, x, y) {
  let path = "";
  let open = false;
  const dots = [];
  values.forEach((each, at) => {
    if (each?.known) path += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(each.value).toFixed(1)}`;
    open = Boolean(each?.known);
    if (each)
      dots.push(svg("circle", { class: each.known ? "x-dot" : "x-hollow", "--h": hue, cx: x(at), cy: y(each.value), r: 3 }));
  });
  return [svg("path", { class: "x-line", "--h": hue, d: path }), ...dots];
}

// Names at the ends of lines, moved apart.
function labels(series, x, y) {
  const ends = series
    .map((each) => ({ ...each, at: y(each.values.findLast(Boolean)?.value ?? 0) }))
    .sort((a, b) => a.at - b.at);
  ends.forEach((end, i) => {
    if (i && end.at - ends[i - 1].at < 13) end.at = ends[i - 1].at + 13;
  });
  const over = Math.max(0, (ends.at(-1)?.at ?? 0) - (SIZE.height - 8));
  return ends.flatMap((end) => [
    svg("line", { class: "x-line", "--h": end.hue, x1: x, x2: x + 10, y1: end.at - over, y2: end.at - over }),
    svg("text", { class: "x-end", x: x + 14, y: end.at - over + 4 }, end.name),
  ]);
}

function ticks(most) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => most / each <= 6) ?? 0.5;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => Number((i * step).toFixed(2)));
}

export function hue(at, n) {
  return String(Math.round((360 * at) / Math.max(1, n)) + 195);
}
