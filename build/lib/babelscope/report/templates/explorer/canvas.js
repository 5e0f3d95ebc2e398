// The picture of a raster: a cell per unit, a row or more per layer and site.

import { spot } from "./marks.js";

const SMALLEST = 4; // a mark is seen, however small its cell is

export const GUTTER = 92;

function colours(node) {
  const style = getComputedStyle(node);
  const names = { ink: "--ink", soft: "--soft", cell: "--x-cell", a: "--x-a", b: "--x-b", both: "--x-both" };
  return Object.fromEntries(Object.entries(names).map(([key, name]) => [key, style.getPropertyValue(name).trim()]));
}

// Draws the marks; `cursor` is the mark under the cursor, or null.
export function paint(canvas, plan, model, marks, cursor) {
  const ratio = window.devicePixelRatio || 1;
  const width = GUTTER + plan.columns * plan.cell;
  const pen = canvas.getContext("2d");
  const [wide, high] = [Math.round(width * ratio), Math.round(plan.height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    Object.assign(canvas, { width: wide, height: high });
    Object.assign(canvas.style, { width: `${width}px`, height: `${plan.height}px` });
  }
  pen.resetTransform();
  pen.clearRect(0, 0, wide, high);
  const colour = colours(canvas);
  pen.scale(ratio, ratio);
  paintSites(pen, plan, model, colour);
  const size = Math.max(plan.cell - (plan.cell > 5 ? 1 : 0), SMALLEST);
  for (const mark of marks) {
    const at = spot(plan, model.names, mark.unit);
    if (at) paintMark(pen, GUTTER + at.x + (plan.cell - size) / 2, at.y + (plan.cell - size) / 2, size, mark, colour);
  }
  const at = cursor && spot(plan, model.names, cursor.unit);
  if (at) {
    pen.strokeStyle = colour.ink;
    pen.lineWidth = 2;
    const side = Math.max(plan.cell, 8) + 4;
    pen.strokeRect(GUTTER + at.x + (plan.cell - side) / 2, at.y + (plan.cell - side) / 2, side, side);
  }
}

function paintSites(pen, plan, model, colour) {
  pen.font = "11px ui-sans-serif, system-ui, sans-serif";
  pen.textBaseline = "top";
  let labelled = -Infinity;
  for (const row of plan.rows) {
    const [layer, site, width] = model.sites[row.site];
    const full = Math.floor(width / plan.columns);
    pen.fillStyle = colour.cell;
    pen.fillRect(GUTTER, row.y, plan.columns * plan.cell, full * plan.cell);
    pen.fillRect(GUTTER, row.y + full * plan.cell, (width % plan.columns) * plan.cell, plan.cell);
    if (row.y - labelled < 12) continue; // no room: the next one is labelled
    pen.fillStyle = colour.soft;
    pen.fillText(`L${String(layer).padStart(2, "0")} ${site}`, 0, row.y, GUTTER - 6);
    labelled = row.y;
  }
}

// In one language the upper or the lower half, in both all of it: shapes tell them apart without colours.
function paintMark(pen, x, y, size, mark, colour) {
  if (mark.a && mark.b) {
    pen.fillStyle = colour.both;
    pen.fillRect(x, y, size, size);
    return;
  }
  pen.fillStyle = mark.a ? colour.a : colour.b;
  pen.fillRect(x, mark.a ? y : y + size / 2, size, size / 2);
}
