// What the page knows of the study: read when it is first asked for, and kept.

import { readBlock, share } from "./blocks.js";
import { UnitNames } from "./names.js";

// The best units of one concept, by step and language.
export class ConceptUnits {
  constructor({ header, arrays }, nLangs) {
    this.depth = header.depth;
    this.nLangs = nLangs;
    Object.assign(this, arrays);
    const total = arrays.ap.length;
    this.unit = new Uint32Array(total);
    for (let plane = 0; plane * total < arrays.planes.length; plane += 1) {
      for (let i = 0; i < total; i += 1) this.unit[i] += arrays.planes[plane * total + i] * 256 ** plane;
    }
    this.starts = new Uint32Array(arrays.top.length + 1);
    for (let cell = 0; cell < arrays.top.length; cell += 1) {
      let at = this.starts[cell];
      for (const count of [arrays.top[cell], arrays.rest[cell]]) {
        for (let i = at + 1; i < at + count; i += 1) this.unit[i] += this.unit[i - 1];
        at += count;
      }
      this.starts[cell + 1] = at;
    }
  }

  // Experts at a step in a language (both by place): their numbers, rising, and their AP in 255ths.
  experts(step, lang) {
    const cell = step * this.nLangs + lang;
    const from = this.starts[cell];
    const to = from + this.top[cell];
    return { unit: this.unit.subarray(from, to), ap: this.ap.subarray(from, to) };
  }

  // A unit at a step in a language: null if nothing is known there.
  find(step, lang, unit) {
    const cell = step * this.nLangs + lang;
    if (!this.there[cell]) return null;
    const from = this.starts[cell];
    const middle = from + this.top[cell];
    for (const [first, end, expert] of [[from, middle, true], [middle, this.starts[cell + 1], false]]) {
      const at = found(this.unit, unit, first, end);
      if (at >= 0) return { expert, kept: true, ap: this.ap[at] / 255 };
    }
    return { expert: false, kept: false, ap: this.below[cell] / 255 };
  }
}

function found(sorted, value, from, to) {
  let low = from;
  let high = to - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] === value) return middle;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

export class Study {
  constructor(header) {
    Object.assign(this, header);
    this.cache = new Map();
    for (const model of this.models) model.names = new UnitNames(model.sites);
  }

  model(name) {
    return this.models.find((model) => model.name === name);
  }

  once(name, make) {
    if (!this.cache.has(name)) this.cache.set(name, readBlock(name).then((block) => block && make(block)));
    return this.cache.get(name);
  }

  index(model) {
    return this.models.indexOf(model);
  }

  units(model, concept) {
    const at = model.concepts.indexOf(concept);
    if (at < 0) return Promise.resolve(null);
    return this.once(`units/${this.index(model)}/${at}`, (b) => new ConceptUnits(b, model.langs.length));
  }

  // The traces that a unit is among; null if it was not traced.
  traces(model, unit) {
    if (!Object.hasOwn(model.traced, unit)) return Promise.resolve(null);
    return this.once(`traces/${this.index(model)}/${model.traced[unit]}`, (block) => block);
  }

  texts(model) {
    return this.once(`texts/${this.index(model)}`, (block) => block.header.rows);
  }

  // Shared, null and highest null of a concept in two languages at a step (by place); null if not known.
  async overlap(model, step, concept, a, b) {
    const block = await this.once(`overlaps/${this.index(model)}`, (each) => each);
    const pairs = block.header.pairs;
    const pair = pairs.findIndex(([x, y]) => (x === a && y === b) || (x === b && y === a));
    if (pair < 0) return null;
    const at = (step * pairs.length + pair) * model.concepts.length + model.concepts.indexOf(concept);
    const [shared, other, most] = ["shared", "null", "most"].map((name) => share(block.arrays[name][at]));
    return Number.isNaN(shared) ? null : { shared, null: other, most };
  }

  matrix(model) {
    return this.once(`matrix/${this.index(model)}`, (block) => new Matrix(block));
  }
}

// Overlaps of a model by step, layer, variant and pair of languages.
export class Matrix {
  constructor({ header, arrays }) {
    Object.assign(this, header);
    this.values = arrays;
    this.most = new Map();
    this.places = new Map(this.pairs.map(([a, b], at) => [`${a} ${b}`, at]));
  }

  // measure: overlap, null or calibrated. NaN where there is none.
  value(measure, step, layer, variant, a, b) {
    const pair = this.places.get(`${a} ${b}`) ?? this.places.get(`${b} ${a}`);
    const at = [this.steps.indexOf(step), this.layers.indexOf(layer), this.variants.indexOf(variant)];
    if (pair === undefined || Math.min(...at) < 0) return NaN;
    const cell = ((at[0] * this.layers.length + at[1]) * this.variants.length + at[2]) * this.pairs.length + pair;
    const overlap = share(this.values.overlap[cell]);
    const other = share(this.values.null[cell]);
    if (measure === "calibrated") return (overlap - other) / (1 - other);
    return measure === "null" ? other : overlap;
  }

  // The highest value of a measure of two languages, over all steps and layers.
  highest(measure, variant) {
    const key = `${measure} ${variant}`;
    if (!this.most.has(key)) this.most.set(key, this.search(measure, variant));
    return this.most.get(key);
  }

  search(measure, variant) {
    let most = 0;
    for (const step of this.steps)
      for (const layer of this.layers)
        for (const [a, b] of this.pairs.filter(([one, other]) => one !== other)) {
          const value = this.value(measure, step, layer, variant, a, b);
          if (value > most) most = value;
        }
    return most;
  }
}
