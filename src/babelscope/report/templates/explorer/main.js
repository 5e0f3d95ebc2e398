// The explorer: one state, which every view shows, every control changes, and the URL fragment holds.

import { readBlock } from "./blocks.js";
import { Controls } from "./controls.js";
import { el } from "./dom.js";
import { How } from "./how.js";
import { LayersView } from "./layers.js";
import { MatrixView } from "./matrix.js";
import { Raster } from "./raster.js";
import { defaults, format, parse, VIEWS } from "./state.js";
import { Study } from "./study.js";
import { Timeline } from "./timeline.js";
import { UnitView } from "./unit.js";

// A change of these is a place to come back to; others are small steps from it.
const PLACES = ["view", "unit"];

class Explorer {
  constructor(root, study) {
    this.study = study;
    this.state = defaults(study);
    this.turn = 0;
    const go = (patch) => this.go(patch);
    const open = (unit, model) => go({ view: "unit", unit, m: model.name, w: this.state.w === model.name ? "" : this.state.w });
    const make = { raster: () => new Raster(study, open), unit: () => new UnitView(study, go), matrix: () => new MatrixView(study, go), layers: () => new LayersView(study, go) };
    this.panels = Object.fromEntries(VIEWS.map((view) => [view, [make[view](), make[view]()]]));
    this.controls = new Controls(study, go, () => this.copy());
    this.timeline = new Timeline((at, playing) => this.step(at, playing), () => this.write(false));
    this.notes = el("div", { class: "x-notes", role: "status" });
    this.status = el("p", { class: "hidden", role: "status" });
    this.views = el("div", { class: "x-views" });
    this.how = new How(study);
    const about = study.notes.map((note) => el("p", { class: "small" }, note));
    root.replaceChildren(this.controls.node, this.timeline.node, this.notes, this.views, this.how.node, ...about, this.status);
    for (const event of ["popstate", "hashchange"]) addEventListener(event, () => this.read());
  }

  get model() {
    return this.study.model(this.state.m);
  }

  // Take the state of the URL, if it is one of ours.
  read() {
    if (location.hash === this.written) return Promise.resolve();
    const found = parse(location.hash, this.study);
    if (!found) return Promise.resolve();
    this.written = location.hash;
    this.timeline.pause();
    this.state = found.state;
    return this.show(found.notes);
  }

  go(patch) {
    this.timeline.pause();
    const model = this.study.model(patch.m);
    const s = model ? model.steps[this.study.place(model, this.state)] : this.state.s;
    const wanted = format({ ...this.state, s, ...patch }, this.study);
    const { state, notes } = parse(wanted, this.study, this.state.unit);
    const place = PLACES.some((key) => state[key] !== this.state[key]);
    this.state = state;
    this.write(place);
    const shown = this.show(notes);
    return place ? shown.then(() => this.lead()) : shown;
  }

  // What is opened far down in a list begins above: go there.
  lead() {
    if (this.views.getBoundingClientRect().top < 0) this.views.scrollIntoView({ behavior: "instant" });
  }

  step(at, playing) {
    this.state = { ...this.state, s: this.model.steps[at] };
    if (!playing) this.write(false);
    return this.show([], playing);
  }

  write(isPlace) {
    this.written = format(this.state, this.study);
    if (isPlace) history.pushState(null, "", this.written);
    else history.replaceState(null, "", this.written);
  }

  async show(notes, silent = false) {
    this.turn += 1;
    const turn = this.turn;
    const { state, model } = this;
    this.controls.update(state, model);
    this.timeline.update(model, state.s);
    this.how.update(state, model, state.s);
    this.notes.replaceChildren(...notes.map((note) => el("p", {}, note)));
    const shown = [model, this.study.model(state.w)].filter(Boolean);
    const panels = this.panels[state.view].slice(0, shown.length);
    if (panels.some((panel, at) => this.views.children[at] !== panel.node) || this.views.children.length !== panels.length)
      this.views.replaceChildren(...panels.map((panel) => panel.node));
    this.views.classList.toggle("x-two", panels.length > 1);
    const said = await Promise.all(panels.map((panel, at) => panel.update(state, shown[at])));
    performance.mark("explorer shown");
    if (turn === this.turn && !silent) this.status.replaceChildren(said.join(" "));
  }

  async copy() {
    const link = location.href.replace(/#.*$/su, "") + format(this.state, this.study, this.study.hash);
    try {
      await navigator.clipboard.writeText(link);
      this.controls.copied.replaceChildren("Copied.");
    } catch {
      const field = el("input", { type: "text", readonly: true, value: link, "aria-label": "Link to this view" });
      this.controls.copied.replaceChildren(field);
      field.select();
    }
  }
}

async function start() {
  const root = document.getElementById("explorer-root");
  const { header } = await readBlock("study");
  const explorer = new Explorer(root, new Study(header));
  const lead = () => document.getElementById("explorer").scrollIntoView({ behavior: "instant" });
  // Links in the text of the page set the state as any change of the URL does; they also lead here.
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#/"]');
    if (link && !root.contains(link)) lead();
  });
  if (parse(location.hash, explorer.study)) {
    await explorer.read();
    lead();
  } else await explorer.show([]);
  root.dataset.ready = "yes";
}

start();
