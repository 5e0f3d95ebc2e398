// Names of units, L03.mlp_act.117, and their numbers in the order of a model's sites.

export class UnitNames {
  // sites: [layer, site, width] in the order in which units are numbered.
  constructor(sites) {
    this.sites = sites;
    this.starts = [];
    this.size = 0;
    for (const [, , width] of sites) {
      this.starts.push(this.size);
      this.size += width;
    }
  }

  // [place of the site among the sites, index of the unit in it]
  place(unit) {
    let low = 0;
    let high = this.starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= unit) low = middle;
      else high = middle;
    }
    return [low, unit - this.starts[low]];
  }

  name(unit) {
    const [at, index] = this.place(unit);
    const [layer, site] = this.sites[at];
    return `L${String(layer).padStart(2, "0")}.${site}.${index}`;
  }

  // -1 if the model has no such unit. What people type may lack zeros and capitals.
  number(name) {
    const match = /^L(\d+)\.(.+)\.(\d+)$/iu.exec(name.trim());
    if (!match) return -1;
    const typed = match[2].toLowerCase();
    const at = this.sites.findIndex(([layer, site]) => layer === Number(match[1]) && site.toLowerCase() === typed);
    return at >= 0 && Number(match[3]) < this.sites[at][2] ? this.starts[at] + Number(match[3]) : -1;
  }
}
