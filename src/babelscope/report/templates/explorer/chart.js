// A line chart over steps, a line per series.

import { svg } from "./dom.js";

const SIZE = { height: 260, left: 40, right: 58, top: 12, bottom: 30 };
const LABEL = 46; // pixels that a step takes below the line

// axis: [{ place, label }] of the steps, places from 0 to 1. series: [{ name, values: [{ value, known }], hue }], values by step; null where there is none.
// guides: [{ kind, values }] lines to compare with, their classes and values by step; null where there is none. now: place of the current step. flagged: places that are marked.
// width: pixels that there are. least: what the axis of values reaches at least, so that charts side by side have one scale.
export function chart(label, axis, series, guides, now, flagged, width, least = 0) {
  const { height, left, right, top, bottom } = SIZE;
  const values = [...series.flatMap((s) => s.values.filter(Boolean).map((v) => v.value)), ...guides.flatMap((g) => g.values.filter((v) => v !== null))];
  const most = Math.max(0.05, least, ...values) * 1.05;
  const x = (at) => left + axis[at].place * (width - left - right);
  const y = (value) => height - bottom - (value / most) * (height - top - bottom);
  const parts = flagged.map((at) =>
    svg("rect", { class: "x-flagged", x: x(at) - 6, width: 12, y: top, height: height - top - bottom }),
  );
  for (const at of ticks(most)) {
    parts.push(svg("line", { class: "x-grid", x1: left, x2: width - right, y1: y(at), y2: y(at) }));
    parts.push(svg("text", { class: "x-tick", x: left - 6, y: y(at) + 4, "text-anchor": "end" }, String(at)));
  }
  let free = Infinity;
  for (let at = axis.length - 1; at >= 0; at -= 1) {
    if (x(at) > free) continue; // no room
    parts.push(svg("text", { class: "x-tick", x: x(at), y: height - 10, "text-anchor": "middle" }, axis[at].label));
    free = x(at) - LABEL;
  }
  parts.push(svg("line", { class: "x-now", x1: x(now), x2: x(now), y1: top, y2: height - bottom }));
  for (const { kind, values: across } of guides)
    parts.push(svg("path", { class: kind, d: across.length > 1 ? guide(across, x, y) : `M${left} ${y(across[0])}H${width - right}` }));
  for (const each of series) parts.push(...line(each, x, y));
  parts.push(...labels(series, width - right + 8, y));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "x-chart", role: "img", "aria-label": label }, parts);
}

function guide(values, x, y) {
  return values
    .map((value, at) => (value === null ? "" : `${at && values[at - 1] !== null ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`))
    .join("");
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

// Names at the ends of lines, moved apart, none below the axis.
function labels(series, x, y) {
  const ends = series
    .map((each) => ({ ...each, at: y(each.values.findLast(Boolean)?.value ?? 0) }))
    .sort((a, b) => a.at - b.at);
  ends.forEach((end, i) => {
    if (i && end.at - ends[i - 1].at < 13) end.at = ends[i - 1].at + 13;
  });
  ends.reduceRight((free, end) => (end.at = Math.min(end.at, free)) - 13, y(0) - 4);
  return ends.flatMap((end) => [
    svg("line", { class: "x-line", "--h": end.hue, x1: x, x2: x + 10, y1: end.at, y2: end.at }),
    svg("text", { class: "x-end", x: x + 14, y: end.at + 4 }, end.name),
  ]);
}

function ticks(most) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => most / each <= 6) ?? 0.5;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => Number((i * step).toFixed(2)));
}

export function hue(at, n) {
  return String(Math.round((360 * at) / Math.max(1, n)) + 195);
}
