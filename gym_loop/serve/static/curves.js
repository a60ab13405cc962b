// The card with the chart: what is drawn, on which axes, and its legend.

import { Chart } from "./chart.js";
import { ask, choice, el, menu, number, plural, setChoice, setOptions } from "./ui.js";

const COLOURS = 8; // further groups are grey
const SMOOTH = [["1", "none"], ["10", "10 episodes"], ["100", "100 episodes"], ["1000", "1,000 episodes"]];

export class Curves {
  /**
   * @param watch called with {run, kind, first, last} of a point that is chosen.
   * @param draw called when another environment has been chosen.
   */
  constructor(box, watch, draw) {
    this.kind = null; // until known: evaluations where there are several, else training
    this.metric = "return";
    this.axis = "steps";
    this.window = "100";
    this.logX = this.logY = false;
    this.low = this.high = null;
    this.groups = [];
    this.slots = new Map(); // group -> colour, kept while the page is open
    this.title = el("h2", {});
    this.kinds = choice("Episodes", [["eval", "Evaluation"], ["train", "Training"]], null, (v) => { this.kind = v; this.resetMetric(); this.load(); });
    this.axes = choice("Horizontal axis", [["steps", "Steps"], ["episodes", "Episodes"], ["hours", "Hours"]], "steps",
      (v) => { this.axis = v; this.low = this.high = null; this.load(); });
    this.metrics = menu("Metric", [["return", "return"], ["length", "length"]], "return", (v) => { this.metric = v; this.load(); });
    for (const event of ["focusin", "pointerenter", "pointerdown"]) this.metrics.addEventListener(event, () => this.askTags());
    this.smooth = menu("Smoothing", SMOOTH, this.window, (v) => { this.window = v; this.load(); });
    this.scales = choice("Vertical scale", [["linear", "Linear"], ["log", "Log"], ["loglog", "Log-log"]], "linear",
      (v) => { this.logY = v !== "linear"; this.logX = v === "loglog"; this.load(); });
    this.env = null;
    this.envs = menu("Environment", [], null, (v) => { this.env = v; draw(); });
    this.envs.hidden = true;
    this.whole = el("button", { type: "button", class: "plain", hidden: true, onclick: () => this.zoom(null, null) }, "Show all");
    this.note = el("p", { class: "note soft", role: "status" });
    this.legend = el("ul", { class: "legend" });
    const plot = el("div", { class: "plotbox" });
    box.append(
      el("div", { class: "cardhead" }, this.title, this.envs, this.kinds, this.axes, this.scales, this.metrics, this.smooth, this.whole),
      el("div", { class: "chartrow" }, plot, this.legend), this.note);
    this.chart = new Chart(plot, { watch, zoom: (low, high) => this.zoom(low, high) });
    this.chart.onactive = (place) => {
      for (const item of this.legend.children) item.classList.toggle("on", Number(item.dataset.group) === place);
      this.legend.classList.toggle("dim", place !== null);
    };
  }

  /** Return the environment that is drawn, of each run's: the one chosen, else that of most runs. */
  environment(envs) {
    const counts = new Map();
    for (const env of envs) counts.set(env, (counts.get(env) ?? 0) + 1);
    const names = [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
    const env = counts.has(this.env) ? this.env : names[0];
    this.envs.hidden = names.length < 2;
    setOptions(this.envs.querySelector("select"), names.map((name) => [name, name]), env);
    return env;
  }

  /**
   * Draw other runs, or the same anew.
   * @param groups [{key, name, runs: [ids]}], the most important first.
   * @param rest how many groups are not among them.
   */
  show(groups, rest = 0) {
    this.groups = groups;
    this.rest = rest;
    return this.load();
  }

  zoom(low, high) {
    [this.low, this.high] = [low, high];
    return this.load();
  }

  resetMetric() {
    if (this.metric.includes("/")) this.metric = "return"; // an event's tag is of one kind of episodes
    this.tagsOf = null;
    const names = [...new Set(["return", "length", this.metric])];
    setOptions(this.metrics.querySelector("select"), names.map((name) => [name, name]), this.metric);
  }

  async askTags() {
    const runs = this.groups.map((group) => group.runs[0]).filter(Boolean).slice(0, 8);
    const asked = `${this.kind} ${runs.join()}`;
    if (!runs.length || this.tagsOf === asked) return;
    this.tagsOf = asked;
    try {
      const tags = (await ask("/api/tags", { runs }))[this.kind] ?? [];
      const names = ["return", "length", ...tags];
      if (!names.includes(this.metric)) names.push(this.metric);
      setOptions(this.metrics.querySelector("select"), names.map((name) => [name, name]), this.metric);
    } catch (error) { this.say(error.message); }
  }

  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const want = (kind) => ask("/api/curves", {
        groups: this.groups.map((group) => group.runs), kind, metric: this.metric, axis: this.axis,
        window: Number(this.window), low: this.low, high: this.high,
      });
      let kind = this.kind ?? "eval";
      let { groups } = await want(kind);
      if (this.kind === null && !groups.some((group) => group.seeds.some((seed) => seed.of > 1))) {
        kind = "train";
        ({ groups } = await want(kind));
      }
      if (turn !== this.turn) return; // something else has been asked for meanwhile
      if (groups.some((group) => group.seeds.length)) this.kind ??= kind;
      this.draw(groups, kind);
    } catch (error) {
      if (turn === this.turn) this.say(error.message);
    }
  }

  say(text) {
    if (this.note.textContent !== text) this.note.textContent = text;
  }

  colour(key) {
    if (!this.slots.has(key)) {
      const current = new Set(this.groups.map((group) => group.key));
      const taken = new Set([...this.slots].filter(([other]) => current.has(other)).map(([, slot]) => slot));
      let slot = 0;
      while (slot < COLOURS && taken.has(slot)) slot += 1;
      this.slots.set(key, slot);
    }
    return this.slots.get(key);
  }

  draw(answers, kind) {
    const drawn = answers.map((answer, place) => {
      const { key, name } = this.groups[place];
      return { ...answer, name, key, colour: this.colour(key) };
    }).filter((group) => group.seeds.length);
    const view = { axis: this.axis, metric: this.metric, kind, logX: this.logX, logY: this.logY, low: this.low, high: this.high };
    this.chart.set(drawn, view);
    setChoice(this.kinds, kind);
    this.smooth.hidden = kind === "eval";
    this.whole.hidden = this.low === null;
    const means = drawn.some((group) => group.mean.length);
    this.title.textContent = `${kind === "eval" ? "Evaluation" : "Training"} ${this.metric}`;
    const lasts = drawn.map((group) => lastOf(group));
    const apart = new Set(lasts.map(([x]) => x)).size > 1; // else all values are at the same place
    this.legend.replaceChildren(...drawn.map((group, place) => this.entry(group, place, lasts[place], apart)));
    this.legend.hidden = this.groups.length < 2;
    const parts = [];
    if (!drawn.length) parts.push(kind === "eval" ? "No evaluation yet: choose Training." : "No episode has ended yet.");
    if (means) parts.push("Line: mean over seeds, as far as all of them go. Band: its 95 % interval.");
    if (this.rest) parts.push(`The ${drawn.length} groups with the best results of ${drawn.length + this.rest}; filter or choose others.`);
    const refused = answers.flatMap((answer) => answer.refused);
    if (refused.length) parts.push(`Left out: ${refused[0]}${refused.length > 1 ? ` and ${refused.length - 1} more` : ""}.`);
    if (this.logY && drawn.some((g) => g.seeds.some((s) => s.y.some((y) => y !== null && y <= 0)))) {
      parts.push("Values of 0 and below are not shown on a logarithmic scale.");
    }
    if (drawn.length) parts.push("Click a point to watch its episode; drag to zoom.");
    this.say(parts.join(" "));
  }

  entry(group, place, [x, last], apart) {
    const about = group.seeds.length > 1 ? [plural(group.seeds.length, "seed")] : [];
    if (apart && x !== undefined) about.push(`at ${number(this.axis === "hours" ? x : Math.round(x))} ${this.axis}`);
    return el("li", {
      "data-group": place,
      onpointerenter: () => this.chart.highlight(place),
      onpointerleave: () => this.chart.highlight(null),
    },
    el("i", { class: `swatch c${group.colour}`, "aria-hidden": "true" }),
    el("span", { class: "name", title: group.name }, group.name),
    el("span", { class: "last" }, number(last)),
    about.length ? el("span", { class: "soft seeds" }, about.join(", ")) : null);
  }
}

/** The x and the value of a group's last point: of the mean over its seeds, else of its one run. */
function lastOf(group) {
  const [x, y] = group.mean.length ? [group.x, group.mean] : [group.seeds[0].x, group.seeds[0].y];
  const place = y.findLastIndex((value) => value !== null);
  return [x[place], y[place]];
}
