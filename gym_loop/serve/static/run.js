// A run's own page.

import { Curves } from "./curves.js";
import { $, ago, ask, bytes, command, duration, el, number, plural, repeat, stateBadge } from "./ui.js";
import { Watch } from "./watch.js";

const id = location.pathname.split("/").pop();
let name = id;
let others = [];

const watch = new Watch($("watch"), () => others);
const open = (kind, which, siblings = null) => watch.open({ run: id, name, kind, which: String(which), siblings });
const curves = new Curves($("chart"), ({ kind, first, last }) => open(kind, first + Math.floor((last - first) / 2), { first, last }));
$("films").append(...["Best", "Worst", "Last"].map((word) => el("button", { type: "button", class: "plain", onclick: () => open("train", word.toLowerCase()) }, `Watch ${word.toLowerCase()}`)));

let drawn = "";
let turn = 0;

async function update() {
  try {
    const { log, row } = await ask(`/api/log/${id}`);
    showLog(log);
    $("live").textContent = row.state === "running" ? "running" : "live";
    $("live").className = row.state === "running" ? "running" : "soft";
    const mark = JSON.stringify(row);
    if (mark !== drawn || turn % 10 === 0) await details();
    if (mark !== drawn) {
      drawn = mark;
      await curves.show([{ key: id, name, runs: [id] }]);
    }
    turn += 1;
  } catch (error) {
    problem(error.message);
    if (!drawn) await details().catch(() => {});
  }
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function showLog(text) {
  const box = $("log");
  const shown = text || "The log is empty.";
  if (box.textContent === shown) return;
  const atEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 20;
  box.textContent = shown;
  if (atEnd || !drawn) box.scrollTop = box.scrollHeight;
}

async function details() {
  const content = await ask(`/api/run/${id}`);
  const { row } = content;
  name = row.name;
  document.title = `${name} · gym-loop`;
  const what = [row.agent, row.env].filter(Boolean).join(" on ") || name;
  $("name").replaceChildren(what, row.seed === null || row.seed === undefined ? "" : el("span", { class: "soft" }, ` seed ${row.seed}`), stateBadge(row.state));
  $("path").textContent = content.directory;
  problem(content.error || (content.config ? "" : (row.warnings ?? []).join("; ")));
  $("commands").replaceChildren(...content.commands.map(({ what, command: text }) => el("div", { class: "go" }, el("span", { class: "label" }, what), command(text, what))));
  if (!content.commands.length) $("commands").textContent = "The path holds characters that a terminal would obey, so no command is offered.";
  if (!content.config) return;
  facts(content);
  config(content);
  const warnings = content.warnings ?? [];
  $("warnings-card").hidden = !warnings.length;
  $("warnings").replaceChildren(...warnings.map((text) => el("li", {}, text)));
  versions(content);
  checkpoints(content);
}

function facts({ row, memory, disk, end, now }) {
  const all = [
    ["Episodes", number(row.episodes) + (row.of ? ` of ${number(row.of)}` : "")],
    ["Steps", number(row.steps)],
    ["Return", number(row.return), "mean of the last 100 training episodes"],
    ["Evaluation", number(row.evaluation), "mean of the last evaluation"],
    ["Time", duration(row.seconds)],
    ["Left", duration(row.left ?? NaN)],
    ["Steps a second", row.rate ? number(Math.round(row.rate)) : ""],
    ["Memory", bytes(memory?.now ?? NaN), "of its process, now"],
    ["Peak memory", bytes(memory?.peak ?? NaN), "the most that its process has had"],
    ["Disk", disk ? bytes(disk.bytes) : "", disk ? plural(disk.files, "file") : ""],
    ["Started", ago(row.start, now)],
    ["Ended", end ? ago(Date.parse(end) / 1000, now) : ""],
  ];
  $("facts").replaceChildren(...all.filter(([, text]) => text).map(([label, text, title]) => el("div", { title }, el("dt", {}, label), el("dd", {}, text))));
}

function config({ config: all, overrides }) {
  const mark = JSON.stringify(all);
  if (config.drawn === mark) return;
  config.drawn = mark;
  const rows = (keys) => el("dl", { class: "pairs mono" }, ...keys.flatMap(({ key, value }) => [el("dt", {}, key), el("dd", {}, value)]));
  const chosen = all.filter((one) => one.chosen);
  const rest = all.filter((one) => !one.chosen && !one.key.startsWith("observers."));
  const observers = all.filter((one) => !one.chosen && one.key.startsWith("observers."));
  const fold = (title, keys) => (keys.length ? el("details", {}, el("summary", {}, title), rows(keys)) : "");
  $("config").replaceChildren(
    el("p", { class: "soft" }, overrides.length ? "Set at the launch:" : "Launched with the defaults."),
    el("p", { class: "chips mono" }, ...overrides.map((text) => el("code", {}, text))),
    fold(`What that chose: ${plural(chosen.length, "setting")}`, chosen), fold(`Defaults: ${plural(rest.length, "setting")}`, rest), fold(`Observers: ${plural(observers.length, "setting")}`, observers));
}

function versions({ versions: all, commit, dirty, command: launched, host, launches, parent }) {
  const rows = [...Object.entries(all), ["commit", commit && commit.slice(0, 12) + (dirty ? " and changes that are not committed" : "")],
    ["host", host], ["launches", launches ? number(launches) : ""], ["forked from", parent], ["command", launched]];
  $("versions").replaceChildren(...rows.filter(([, text]) => text).flatMap(([key, text]) => [el("dt", {}, key), el("dd", { class: "mono" }, text)]));
}

function checkpoints({ checkpoints: all, now }) {
  const rows = all.map((one) => el("tr", {}, el("td", { class: "mono" }, one.name), el("td", { class: "soft" }, one.also.join(", ")), el("td", { class: "n" }, bytes(one.bytes)), el("td", { class: "n soft" }, ago(one.time, now))));
  $("checkpoints").replaceChildren(all.length ? el("table", {}, el("tbody", {}, ...rows)) : el("p", { class: "soft" }, "None yet."));
}

ask("/api/runs?era=-1&since=-1").then(({ runs, roots }) => {
  $("roots").textContent = roots.join("  ");
  others = runs.slice(0, 500).map((run) => ({ id: run.id, name: run.name }));
}).catch(() => {});
repeat(update, 2);
