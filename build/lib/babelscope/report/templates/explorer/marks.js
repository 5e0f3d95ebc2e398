// The experts of a concept in two languages at a step, and where they are drawn.

// All languages and steps by place. Of each unit: number, in `a`, in `b`, its AP in both (null where it is no
// expert) and the number of languages that it is an expert in. Rising by number.
export function marksOf(units, step, a, b) {
  const counts = new Map();
  for (let lang = 0; lang < units.nLangs; lang += 1)
    for (const unit of units.experts(step, lang).unit) counts.set(unit, (counts.get(unit) ?? 0) + 1);
  const marks = new Map();
  const add = (lang, inKey, apKey) => {
    const { unit, ap } = units.experts(step, lang);
    unit.forEach((each, at) => {
      if (!marks.has(each))
        marks.set(each, { unit: each, a: false, b: false, apA: null, apB: null, languages: counts.get(each) });
      Object.assign(marks.get(each), { [inKey]: true, [apKey]: ap[at] / 255 });
    });
  };
  add(a, "a", "apA");
  add(b, "b", "apB");
  return [...marks.values()].sort((x, y) => x.unit - y.unit);
}

// The shared ones first, those of most languages first.
export function byInterest(marks) {
  const worth = (mark) => [Number(mark.a && mark.b), mark.languages, Math.max(mark.apA ?? 0, mark.apB ?? 0)];
  return [...marks].sort((x, y) => {
    const [one, other] = [worth(x), worth(y)];
    const at = one.findIndex((value, i) => value !== other[i]);
    return at < 0 ? x.unit - y.unit : other[at] - one[at];
  });
}

const SIZES = [20, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2];
const TALLEST = 480;
const GAP = 4;

// How sites lie in a picture of this width: the largest cells that are not too tall together.
export function layout(sites, shown, width) {
  const widest = Math.max(1, ...shown.map((at) => sites[at][2]));
  const plan = (cell) => {
    const most = Math.max(1, Math.min(widest, Math.floor(width / cell)));
    const columns = Math.ceil(widest / Math.ceil(widest / most)); // lines of one length
    let y = 0;
    const rows = shown.map((at) => {
      const row = { site: at, y, lines: Math.ceil(sites[at][2] / columns) };
      y += row.lines * cell + GAP;
      return row;
    });
    return { cell, columns, rows, height: y };
  };
  return SIZES.map(plan).find((each) => each.height <= TALLEST && each.cell <= width) ?? plan(1);
}

// Where a unit is drawn, from the upper left; null if its site is not shown.
export function spot(plan, names, unit) {
  const [site, index] = names.place(unit);
  const row = plan.rows.find((each) => each.site === site);
  if (!row) return null;
  return { x: (index % plan.columns) * plan.cell, y: row.y + Math.floor(index / plan.columns) * plan.cell };
}
