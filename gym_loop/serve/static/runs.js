// The page of all runs.

import { compare } from "./compare.js";
import { Curves } from "./curves.js";
import { groupOf, parse, told } from "./filter.js";
import { RunTable } from "./table.js";
import { $, ask, el, plural, repeat, setOptions, stateBadge } from "./ui.js";
import { Watch } from "./watch.js";

const DRAWN = 12; // groups in the chart
const EVERY = 2; // seconds

const known = { era: -1, version: -1, runs: new Map(), configs: {}, sweeps: {}, columns: [], constants: {}, now: 0 };
const asked = new URLSearchParams(location.search);
let by = asked.get("group");
let visible = [];
let only = null; // ids that alone are drawn, once somebody has said so
$("filter").value = asked.get("filter") ?? "";

const watch = new Watch($("watch"), () => visible.slice(0, 500).map((run) => ({ id: run.id, name: run.label })));
const curves = new Curves($("chart"), ({ run, kind, first, last }) => {
  const middle = first + Math.floor((last - first) / 2);
  open(run, kind, middle, { first, last });
}, () => drawCurves());
const table = new RunTable($("table"), $("more"), { watch: (run) => open(run, "train", "last"), chosen: drawSelection });

function open(run, kind, which, siblings = null) {
  const name = known.runs.get(run)?.label ?? run;
  return watch.open({ run, name, kind, which: String(which), siblings });
}

async function update() {
  let news;
  try {
    news = await ask(`/api/runs?era=${known.era}&since=${known.version}`);
  } catch (error) {
    $("live").textContent = error.message;
    $("live").className = "bad";
    return;
  }
  if (news.whole) {
    known.runs.clear();
    known.configs = {};
    Object.assign(known, { columns: news.columns, constants: news.constants });
  }
  Object.assign(known.configs, news.configs);
  for (const run of news.runs) known.runs.set(run.id, run);
  const first = known.era < 0;
  Object.assign(known, { era: news.era, version: news.version, sweeps: news.sweeps, now: news.now });
  $("roots").textContent = news.roots.join("  ");
  $("where").textContent = news.roots.join(" or ");
  $("empty").hidden = known.runs.size > 0;
  $("content").hidden = known.runs.size === 0;
  const running = [...known.runs.values()].filter((run) => run.state === "running").length;
  $("live").textContent = running ? `${running} running` : "live";
  $("live").className = running ? "running" : "soft";
  if (!known.runs.size || (!news.runs.length && !news.whole)) return;
  prepare();
  if (first) table.sort = { key: "start", down: true };
  draw(new Set(news.runs.map((run) => run.id)));
}

/** Give each run what its config says and the name that tells it from the others. */
function prepare() {
  const runs = [...known.runs.values()];
  const varies = (key) => new Set(runs.map((run) => run[key])).size > 1;
  const [agentVaries, envVaries] = [varies("agent"), varies("env")];
  const start = common(runs.map((run) => run.name));
  const label = ({ name, sweep }) => (sweep && name.startsWith(`${known.sweeps[sweep].name}/`) ? name.slice(known.sweeps[sweep].name.length + 1) : name.slice(start)) || name;
  for (const run of runs) {
    run.values = { ...known.constants, ...known.configs[run.config] };
    if (!run.config) run.values = {};
    Object.assign(run, { agentVaries, envVaries, label: label(run) });
  }
  const toldOf = told(runs, known.columns);
  for (const run of runs) run.told = toldOf(run);
  known.keys = [...new Set([known.constants, ...Object.values(known.configs)].flatMap(Object.keys))];
  const options = [["none", "nothing"], ["config", "config (all but the seed)"]];
  if (Object.keys(known.sweeps).length) options.splice(1, 0, ["sweep", "sweep"]);
  for (const key of ["agent", "env", "state"]) options.push([key, key]);
  for (const key of known.columns) if (!key.endsWith("_target_")) options.push([key, key]);
  if (!options.some(([key]) => key === by)) {
    const seeds = runs.length > 20 && Object.keys(known.configs).length < runs.length / 2;
    by = Object.keys(known.sweeps).length ? "sweep" : seeds ? "config" : "none";
  }
  setOptions($("group"), options, by);
}

/** How many characters all paths begin with, up to a slash. */
function common(names) {
  if (names.length < 2) return 0;
  const [a, b] = [names.reduce((x, y) => (x < y ? x : y)), names.reduce((x, y) => (x > y ? x : y))];
  let end = 0;
  while (end < a.length && a[end] === b[end]) end += 1;
  return a.slice(0, end).lastIndexOf("/") + 1;
}

function draw(changed = null) {
  const all = [...known.runs.values()];
  const { test, problem } = parse($("filter").value, known.keys);
  visible = all.filter(test);
  $("filter").setAttribute("aria-invalid", String(Boolean(problem)));
  $("filter-says").textContent = problem || (visible.length < all.length ? `${visible.length.toLocaleString("en-US")} of ${plural(all.length, "run")}` : "");
  $("filter-says").classList.toggle("bad", Boolean(problem));
  drawHeadline(all);
  table.set({ runs: visible, columns: known.columns, sweeps: known.sweeps, by, now: known.now });
  drawCurves(changed);
  drawSelection();
}

function drawHeadline(all) {
  const [first] = all;
  const title = [first.agentVaries ? null : first.agent, first.envVaries ? null : first.env].filter(Boolean).join(" on ");
  $("headline").replaceChildren(title || plural(all.length, "run"), title ? el("span", { class: "soft" }, ` ${plural(all.length, "run")}`) : "");
  document.title = `${title || "Runs"} · gym-loop`;
  const counts = Object.create(null); // a state may be called `constructor`
  for (const run of all) counts[run.state] = (counts[run.state] ?? 0) + 1;
  const filter = $("filter").value.trim();
  const chips = JSON.stringify([counts, filter]);
  if (chips !== drawHeadline.chips) drawChips(counts, filter);
  drawHeadline.chips = chips;
  drawConstants();
}

function drawChips(counts, filter) {
  const focused = $("states").contains(document.activeElement) ? document.activeElement.dataset.state : null;
  $("states").replaceChildren(...Object.entries(counts).sort().map(([state, count]) => {
    const own = `state=${state}`;
    const on = filter.split(/\s+/).includes(own);
    const press = () => {
      const rest = filter.split(/\s+/).filter((word) => !word.startsWith("state="));
      $("filter").value = [...rest, ...(on ? [] : [own])].join(" ");
      filtered();
    };
    return el("button", { type: "button", class: "chip", "data-state": state, "aria-pressed": String(on), onclick: press }, stateBadge(state, count));
  }));
  if (focused) $("states").querySelector(`[data-state="${CSS.escape(focused)}"]`)?.focus();
}

function drawConstants() {
  const keys = Object.keys(known.constants).filter((key) => !key.endsWith("_target_") && key !== "env.id");
  const lead = keys.filter((key) => key.startsWith("agent.") || key === "loop.max_episodes" || key === "loop.max_steps").filter((key) => known.constants[key] !== "null").slice(0, 5);
  const mark = JSON.stringify([lead, known.constants]);
  if (mark === drawConstants.drawn) return;
  drawConstants.drawn = mark;
  const pair = (key) => el("span", { class: "pair" }, `${key}=`, el("b", {}, known.constants[key]));
  const folded = keys.filter((key) => !lead.includes(key));
  $("constants").replaceChildren(lead.length ? "All with " : "", ...lead.map(pair),
    keys.length ? el("details", { class: "inline" }, el("summary", {}, `${lead.length ? "and " : "All share "}${plural(folded.length, "setting")}`), el("div", { class: "pairs-list" }, ...folded.map(pair))) : "");
}

let pending = null;
function drawCurves(changed = null) {
  const chosen = only ? visible.filter((run) => only.has(run.id)) : visible;
  const env = curves.environment(chosen.map((run) => run.env).filter(Boolean)); // returns of two have no common scale
  const drawn = chosen.filter((run) => run.env === env);
  const groups = new Map();
  const lines = ["none", "sweep"].includes(by) ? "config" : by;
  for (const run of drawn) {
    const [key, name] = groupOf(run, lines, known.sweeps, false);
    if (!groups.has(key)) groups.set(key, { key, name, runs: [], scores: [] });
    const group = groups.get(key);
    group.runs.push(run.id);
    const score = run.evaluation ?? run.return;
    if (Number.isFinite(score)) group.scores.push(score);
  }
  for (const group of groups.values()) group.score = group.scores.length ? group.scores.reduce((a, b) => a + b) / group.scores.length : -Infinity;
  const best = [...groups.values()].sort((a, b) => b.score - a.score).slice(0, DRAWN);
  const rest = groups.size - best.length;
  const same = JSON.stringify(best.map((group) => [group.key, group.runs])) === drawCurves.drawn;
  drawCurves.drawn = JSON.stringify(best.map((group) => [group.key, group.runs]));
  if (same && changed && !best.some((group) => group.runs.some((id) => changed.has(id)))) return;
  if (!same) curves.low = curves.high = null;
  const load = () => { pending = null; drawCurves.at = performance.now(); curves.show(best, rest); };
  clearTimeout(pending);
  if (same && changed) pending = setTimeout(load, Math.max(0, 4000 - (performance.now() - drawCurves.at))); // running ones: not at each turn
  else load();
}

function drawSelection() {
  for (const id of table.chosen) if (!known.runs.has(id)) table.chosen.delete(id);
  const chosen = [...table.chosen].map((id) => known.runs.get(id));
  $("selection").hidden = !chosen.length && !only;
  const watchBoth = () => {
    const [one, two] = chosen.map((run) => ({ run: run.id, name: run.label, kind: "train", which: "last" }));
    watch.openBoth(one, two);
  };
  const button = (text, press, on = true) => (on ? el("button", { type: "button", class: "plain", onclick: press }, text) : null);
  const mark = JSON.stringify([chosen.map((run) => run.id), Boolean(only)]);
  if (mark === drawSelection.drawn) return;
  drawSelection.drawn = mark;
  $("selection").replaceChildren(el("b", {}, only && !chosen.length ? "The chart shows a choice" : `${chosen.length} chosen`), ...[
    button("Compare", () => compare($("compare"), chosen, () => { $("compare").hidden = true; }), chosen.length > 0),
    button("Watch side by side", watchBoth, chosen.length === 2),
    button("Draw only these", () => { only = new Set(table.chosen); drawSelection.drawn = null; draw(); }, chosen.length > 0),
    button("Draw all again", () => { only = null; drawSelection.drawn = null; draw(); }, only !== null),
    button("Clear", () => table.choose([...table.chosen], false), chosen.length > 0),
  ].filter(Boolean));
}

function filtered() {
  const query = new URLSearchParams();
  if ($("filter").value.trim()) query.set("filter", $("filter").value.trim());
  if (by) query.set("group", by);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  if (known.runs.size) draw();
}

let typing = null;
$("filter").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filtered, 200); });
$("tools").addEventListener("submit", (event) => { event.preventDefault(); filtered(); });
$("group").addEventListener("change", () => { by = $("group").value; filtered(); });
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) {
    event.preventDefault();
    $("filter").focus();
  }
});
repeat(update, EVERY);
