// The table of runs: sorted, grouped, folded, and changed in place as runs go on.

import { NAMED, brief, groupOf, short } from "./filter.js";
import { ago, aligned, duration, el, number, plural, stateBadge } from "./ui.js";

const FIRST = 200; // rows that are drawn before somebody asks for more

export class RunTable {
  /** @param actions {sort, watch(run), chosen()}: what is to happen on a press. */
  constructor(table, more, actions) {
    this.table = table;
    this.more = more;
    this.actions = actions;
    this.sort = { key: "start", down: true };
    this.chosen = new Set();
    this.open = new Set();
    this.limit = FIRST;
    this.rows = new Map();
    this.head = table.createTHead();
    this.body = table.createTBody();
    more.addEventListener("click", () => { this.limit += 500; this.draw(); });
  }

  set(state) {
    this.state = state;
    this.draw();
  }

  columns() {
    const { runs, columns } = this.state;
    const varies = (key) => new Set(runs.map((run) => run[key])).size > 1;
    const has = (key) => runs.some((run) => run[key] !== null && run[key] !== undefined && run[key] !== "");
    const format = { return: aligned(runs.map((r) => r.return)), evaluation: aligned(runs.map((r) => r.evaluation)) };
    const last = (key) => columns.filter((other) => short(other) === short(key)).length > 1;
    const all = [
      { key: "name", head: "Run", cell: (run) => this.nameCell(run), id: (run) => run.label },
      { key: "state", head: "State", cell: (run) => stateBadge(run.state), id: (run) => run.state },
    ];
    // What people look for first comes first: on a narrow screen the rest is scrolled to.
    all.push({ key: "episodes", head: "Episodes", numeric: true, cell: (run) => progress(run), id: (run) => `${run.episodes} ${run.of}` },
      { key: "return", head: "Return", title: "Mean of the last 100 training episodes", numeric: true, text: (run) => format.return(run.return) });
    if (has("evaluation")) all.push({ key: "evaluation", head: "Evaluation", title: "Mean of the last evaluation", numeric: true, text: (run) => format.evaluation(run.evaluation) });
    for (const key of ["agent", "env"]) if (varies(key)) all.push({ key, head: key, text: (run) => run[key] ?? "" });
    for (const key of columns) {
      if (NAMED.has(key) || key === "loop.max_episodes") continue; // the latter stands beside the episodes
      const numeric = runs.every((run) => run.values[key] === undefined || Number.isFinite(Number(run.values[key])));
      all.push({ key: `config ${key}`, head: last(key) ? key : short(key), title: key, numeric, text: (run) => brief(run.values[key] ?? "–"), value: (run) => run.values[key] });
    }
    if (has("seed")) all.push({ key: "seed", head: "seed", numeric: true, text: (run) => run.seed ?? "" });
    if (runs.some((run) => run.state === "running")) all.push({ key: "left", head: "Left", numeric: true, text: (run) => duration(run.left) });
    all.push({ key: "steps", head: "Steps", numeric: true, text: (run) => number(run.steps) },
      { key: "rate", head: "Steps/s", numeric: true, text: (run) => (run.rate ? number(Math.round(run.rate)) : "") },
      { key: "start", head: "Started", text: (run) => ago(run.start, this.state.now) });
    return all;
  }

  nameCell(run) {
    const warned = run.warnings?.length || run.error;
    return el("span", { class: "runname" }, el("a", { href: `/run/${run.id}`, title: run.name }, run.label),
      warned ? el("span", { class: "warned", title: run.error || run.warnings.join("\n"), "aria-label": `: ${run.error || plural(run.warnings.length, "warning")}` }, "!") : null);
  }

  sorted(runs) {
    const { key, down } = this.sort;
    const column = this.shown.find((one) => one.key === key);
    const value = (run) => (column?.value ? column.value(run) : run[key]);
    const empty = (v) => v === null || v === undefined || v === "";
    const plainly = (v) => (Number.isFinite(Number(v)) ? Number(v) : v);
    return [...runs].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      const [p, q] = [plainly(x), plainly(y)];
      const order = typeof p === "number" && typeof q === "number" ? p - q : String(x).localeCompare(String(y), "en", { numeric: true });
      return (down ? -order : order) || a.name.localeCompare(b.name, "en", { numeric: true });
    });
  }

  draw() {
    this.shown = this.columns();
    this.drawHead();
    const { by, sweeps } = this.state;
    const wanted = [];
    if (by === "none") for (const run of this.sorted(this.state.runs)) wanted.push({ key: run.id, run });
    else {
      const groups = new Map();
      for (const run of this.sorted(this.state.runs)) {
        const [key, name] = groupOf(run, by, sweeps);
        if (key === null) { groups.set(run.id, { run }); continue; }
        if (!groups.has(key)) groups.set(key, { key: `group ${key}`, name, runs: [], total: by === "sweep" ? sweeps[key]?.jobs : null });
        groups.get(key).runs.push(run);
      }
      this.count = groups.size;
      for (const group of this.ordered([...groups.values()])) {
        if (group.run) { wanted.push({ key: group.run.id, run: group.run }); continue; }
        wanted.push({ key: group.key, group });
        if (this.isOpen(group)) for (const run of group.runs) wanted.push({ key: run.id, run, inner: true });
      }
    }
    const rows = wanted.slice(0, this.limit).map((one) => (one.group ? this.groupRow(one) : this.runRow(one)));
    this.more.hidden = wanted.length <= this.limit;
    this.more.textContent = `Show more: ${(wanted.length - this.limit).toLocaleString("en-US")} rows are left`;
    const now = [...this.body.rows];
    if (now.length !== rows.length || now.some((row, place) => row !== rows[place])) {
      const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
      this.body.replaceChildren(...rows);
      focused?.focus();
    }
  }

  /** Groups by the mean that they show, where the column has one; else by their first run. */
  ordered(groups) {
    const { key, down } = this.sort;
    if (key !== "return" && key !== "evaluation") return groups;
    const score = ({ run, runs }) => mean(run ? [run] : runs, key);
    const sign = down ? -1 : 1;
    return groups.sort((a, b) => {
      const [x, y] = [score(a), score(b)];
      return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
    });
  }

  isOpen(group) {
    return this.open.has(group.key) || (this.count === 1 && !this.open.has(`closed ${group.key}`));
  }

  drawHead() {
    const mark = JSON.stringify([this.shown.map((one) => [one.key, one.head]), this.sort]);
    if (mark === this.drawn) return;
    this.drawn = mark;
    this.rows.clear();
    const cells = this.shown.map((one) => {
      const own = this.sort.key === one.key;
      const press = () => {
        this.sort = { key: one.key, down: own ? !this.sort.down : Boolean(one.numeric) };
        this.draw();
        this.head.querySelector(`[data-key="${CSS.escape(one.key)}"]`)?.focus();
      };
      return el("th", { scope: "col", class: one.numeric ? "n" : "", "aria-sort": own ? (this.sort.down ? "descending" : "ascending") : null },
        el("button", { type: "button", title: one.title ?? null, "data-key": one.key, onclick: press }, one.head));
    });
    this.head.replaceChildren(el("tr", {}, el("td", { class: "pick" }), ...cells, el("td", { class: "act" })));
  }

  /** A row, new or as it was, with the cells that have changed. */
  row(key, cells, make) {
    let known = this.rows.get(key);
    if (!known) {
      known = { node: make(), ids: [] };
      this.rows.set(key, known);
    }
    cells.forEach(({ id, content, classes }, place) => {
      if (known.ids[place] === id) return;
      known.ids[place] = id;
      const cell = known.node.cells[place + 1];
      cell.className = classes;
      cell.replaceChildren(content());
    });
    return known.node;
  }

  runRow({ run, inner }) {
    const cells = this.shown.map((one) => {
      const text = one.text?.(run);
      return { id: one.text ? text : `${one.id(run)} ${run.error ?? ""}${run.warnings?.length ?? 0}`, content: () => (one.text ? text : one.cell(run)), classes: `${one.numeric ? "n" : ""} k-${one.key.split(" ")[0]}` };
    });
    const node = this.row(run.id, cells, () => el("tr", {},
      el("td", { class: "pick" }, el("input", { type: "checkbox", "aria-label": `Choose ${run.label}`, onchange: (event) => this.choose([run.id], event.target.checked) })),
      ...this.shown.map(() => el("td")),
      el("td", { class: "act" }, el("button", { type: "button", class: "plain", "aria-label": `Watch ${run.label}`, title: "Watch its last episode", onclick: () => this.actions.watch(run.id) }, "▶"))));
    node.classList.toggle("inner", Boolean(inner));
    node.querySelector("input").checked = this.chosen.has(run.id);
    return node;
  }

  groupRow({ key, group }) {
    const counts = Object.create(null);
    for (const run of group.runs) counts[run.state] = (counts[run.state] ?? 0) + 1;
    const total = group.total ?? group.runs.length;
    const open = this.isOpen(group);
    const cells = this.shown.map((one) => {
      let id = "";
      let content = () => "";
      if (one.key === "name") {
        id = `${group.name} ${open} ${group.runs.length}`;
        content = () => el("button", { type: "button", class: "fold", "aria-expanded": String(open), onclick: () => this.fold(group, open) },
          el("i", { "aria-hidden": "true" }, open ? "▾" : "▸"), el("b", {}, group.name), el("span", { class: "soft" }, plural(group.runs.length, "run")));
      } else if (one.key === "state") {
        id = JSON.stringify([counts, total]);
        content = () => el("span", { class: "counts" }, ...Object.entries(counts).map(([state, count]) => stateBadge(state, count)));
      } else if (one.key === "episodes") {
        id = `${counts.finished ?? 0}/${total}`;
        content = () => bar((counts.finished ?? 0) / total, `${counts.finished ?? 0} of ${total} done`);
      } else if (one.key === "return" || one.key === "evaluation") {
        const value = mean(group.runs, one.key);
        id = one.text({ [one.key]: value });
        content = () => id;
      } else {
        const values = new Set(group.runs.map((run) => (one.text ? one.text(run) : "")));
        if (values.size === 1 && !["start", "rate", "left", "steps"].includes(one.key)) [id] = values;
        else if (one.key.startsWith("config ") || one.key === "seed") id = `${values.size} values`;
        content = () => el("span", { class: values.size > 1 ? "soft" : "" }, id);
      }
      return { id, content, classes: one.numeric ? "n" : "" };
    });
    const node = this.row(key, cells, () => el("tr", { class: "group" },
      el("td", { class: "pick" }, el("input", { type: "checkbox", "aria-label": `Choose ${group.name}` })),
      ...this.shown.map(() => el("td")), el("td", { class: "act" })));
    const ids = group.runs.map((run) => run.id);
    const box = node.querySelector("input");
    box.onchange = () => this.choose(ids, box.checked);
    const picked = ids.filter((id) => this.chosen.has(id)).length;
    box.checked = picked === ids.length;
    box.indeterminate = picked > 0 && picked < ids.length;
    return node;
  }

  fold(group, open) {
    if (open) { this.open.delete(group.key); this.open.add(`closed ${group.key}`); } else { this.open.add(group.key); this.open.delete(`closed ${group.key}`); }
    this.draw();
    this.rows.get(group.key)?.node.querySelector(".fold")?.focus();
  }

  choose(ids, on) {
    for (const id of ids) if (on) this.chosen.add(id); else this.chosen.delete(id);
    this.draw();
    this.actions.chosen();
  }
}

function mean(runs, key) {
  const sound = runs.map((run) => run[key]).filter((v) => Number.isFinite(v));
  return sound.length ? sound.reduce((a, b) => a + b) / sound.length : NaN;
}

function progress(run) {
  const text = number(run.episodes);
  return run.of ? bar(run.episodes / run.of, text, run.state !== "finished") : el("span", {}, text);
}

function bar(share, text, show = true) {
  if (!show) return el("span", {}, text);
  const inner = el("span", { class: "done" });
  inner.style.width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return el("span", { class: "progress" }, text, el("span", { class: "track", "aria-hidden": "true" }, inner));
}
