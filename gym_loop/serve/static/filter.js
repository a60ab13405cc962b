// `state=running agent=ppo lr>1e-4`: which runs are shown, and what they are grouped by.

const WORD = /^([^=<>!~\s]+)(<=|>=|!=|=|<|>|~)(.*)$/;
export const FIELDS = ["state", "agent", "env", "seed", "episodes", "steps", "return", "evaluation", "rate", "name", "error"];

/** What a run says of a key: a field of its row, or a key of its config, whole or from its end. */
export function value(run, key) {
  if (key === "agent" || key === "env" || FIELDS.includes(key)) return run[key] ?? null;
  const config = run.values;
  if (Object.hasOwn(config, key)) return config[key];
  const ending = `.${key}`;
  const found = Object.keys(config).find((name) => name.endsWith(ending));
  return found === undefined ? null : config[found];
}

/** Return a test of runs and, where the text cannot be understood, what is wrong with it. */
export function parse(text, keys) {
  const tests = [];
  const problems = [];
  const known = [...FIELDS, ...keys];
  for (const word of text.trim().split(/\s+/).filter(Boolean)) {
    const match = WORD.exec(word);
    if (!match) {
      const wanted = word.toLowerCase();
      tests.push((run) => `${run.name} ${run.agent} ${run.env} ${run.state}`.toLowerCase().includes(wanted));
      continue;
    }
    const [, key, operator, wanted] = match;
    if (!known.includes(key) && !known.some((name) => name.endsWith(`.${key}`))) {
      const near = nearest(key, known);
      problems.push(`no run has ${key}${near ? `; did you mean ${near}?` : ""}`);
    } else if (/[<>]/.test(operator) && !Number.isFinite(Number(wanted === "" ? NaN : wanted))) {
      problems.push(`${word}: expected a number after ${operator}`);
    } else if (wanted !== "") tests.push((run) => compare(value(run, key), operator, wanted));
  }
  return { test: (run) => tests.every((test) => test(run)), problem: problems.join(" · ") };
}

function compare(own, operator, wanted) {
  if (operator === "=") return wanted.split(",").some((one) => same(own, one));
  if (operator === "!=") return !wanted.split(",").some((one) => same(own, one));
  if (operator === "~") return String(own ?? "").toLowerCase().includes(wanted.toLowerCase());
  if (own === null || own === "") return false;
  const [a, b] = [Number(own), Number(wanted)];
  return { "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b }[operator];
}

function same(own, wanted) {
  if (own === null) return wanted === "null";
  const text = String(own);
  if (text === wanted || text === wanted.split("/").pop()) return true;
  return text !== "" && wanted !== "" && Number(text) === Number(wanted);
}

/** The known name that shares most pairs of letters with a word. */
function nearest(word, known) {
  const pairs = (text) => new Set([...text.toLowerCase()].map((c, i, all) => c + (all[i + 1] ?? "")));
  const own = pairs(word);
  let best = null;
  let most = 0.35;
  for (const name of known) {
    for (const form of [name, name.split(".").pop()]) {
      const other = pairs(form);
      const shared = [...own].filter((pair) => other.has(pair)).length;
      const score = (2 * shared) / (own.size + other.size);
      if (score > most) [best, most] = [name, score];
    }
  }
  return best;
}

/** What a run is grouped under: a key for the program and a name for the reader. */
export function groupOf(run, by, sweeps, envs = run.envVaries) {
  if (by === "sweep") return run.sweep ? [run.sweep, (sweeps[run.sweep]?.name ?? run.sweep).split("/").slice(-2).join("/")] : [null, ""];
  if (by === "config") return [`config ${run.config}`, configName(run, envs)];
  const own = value(run, by);
  return [`${by}=${own}`, `${short(by)}=${own ?? "–"}`];
}

export const NAMED = new Set(["agent._target_", "env._target_", "env.id"]); // columns of their own

/** What tells a run's config from the others': `ppo lr=0.3`; `run.told` are the keys that do. */
function configName(run, envs) {
  const names = [run.agentVaries || !run.told.length ? run.agent : "", envs ? run.env : ""];
  return [...names, ...run.told.map((key) => `${short(key)}=${brief(run.values[key])}`)].filter(Boolean).join(" ") || run.name;
}

/** The keys in which configs of the same agent and environment differ, for each of these. */
export function told(runs, columns) {
  const kinds = new Map();
  for (const run of runs) {
    const kind = `${run.agent} ${run.env}`;
    if (!kinds.has(kind)) kinds.set(kind, new Map());
    kinds.get(kind).set(run.config, run.values);
  }
  for (const [kind, configs] of kinds) {
    const all = [...configs.values()];
    kinds.set(kind, columns.filter((key) => !NAMED.has(key) && new Set(all.map((values) => values[key])).size > 1));
  }
  return (run) => kinds.get(`${run.agent} ${run.env}`).filter((key) => key in run.values);
}

/** A value as a name or a cell has it: of a fraction, what tells it from others at a glance. */
export function brief(text) {
  const value = Number(text);
  if (!/^-?[\d.]+(e-?\d+)?$/.test(text) || text.length <= 8 || Number.isInteger(value)) return text;
  return String(Number(value.toPrecision(4)));
}

export const short = (key) => key.split(".").pop();
