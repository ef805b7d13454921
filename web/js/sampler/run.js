// @ts-check
/**
 * A run of a sampler as the front end knows it: built from the server's events (nodes/live.py), kept in a workflow.
 *
 * @typedef {{ node: string, loss: string }} ChainLink a loss: the execution id of its node, the name of its class
 * @typedef {{ at: number, src: string }} Frame a small picture of a step
 * @typedef {"restart" | "resample" | "picture"} MarkKind
 * @typedef {{ at: number, kind: MarkKind }} Mark
 * @typedef {"running" | "silent" | "done" | "failed"} RunState silent: under way when the connection was lost
 *
 * @typedef {object} Place
 * @property {string} workflow the id of the workflow that was queued
 * @property {string} prompt the server's id of what was queued
 * @property {string} node the execution id of the sampler, "12:3" inside of subgraph node 12
 * @property {string} run
 *
 * @typedef {Place & { kind: "begin", total: number, batch: number, chain: ChainLink[], memory: number, source: string }} BeginEvent
 * @typedef {Place & { kind: "steps", from: number, total: number, elapsed: number, values: Record<string, number>[],
 *   marks?: [number, MarkKind][], frames?: [number, string][], pulls?: [number, number][] }} StepsEvent
 * @typedef {Place & { kind: "end", ok: boolean, elapsed: number, calls: Record<string, number> }} EndEvent
 * @typedef {Place & { kind: "result", picture: string }} ResultEvent
 * @typedef {BeginEvent | StepsEvent | EndEvent | ResultEvent} RunEvent
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {Place | null} place null for one out of a workflow file
 * @property {RunState} state
 * @property {number} total steps expected
 * @property {number} done steps taken
 * @property {number} batch
 * @property {number} elapsed seconds
 * @property {number} memory bytes
 * @property {Record<string, number>} calls network calls per step
 * @property {ChainLink[]} chain
 * @property {number[]} pulls of each loss of the chain, the last that were measured
 * @property {number[]} steps the numbers of the steps that `series` hold
 * @property {Record<string, (number | null)[]>} series weighted losses by the name of the term; null where it rests
 * @property {Mark[]} marks
 * @property {Frame[]} frames
 * @property {string} source the picture before; "" where it is gone
 * @property {string} result the picture after
 */

export const EVENT = "diffuseit.run";
const KEPT_POINTS = 120;
const KEPT_MARKS = 60;
export const KEPT_FRAMES = 12;
const KEPT_DIGITS = 4;
const VERSION = 1;

/**
 * A run at its beginning.
 * @param {BeginEvent} event
 * @returns {Run}
 */
export function begun(event) {
  return {
    ...empty(event.run),
    place: { workflow: event.workflow, prompt: event.prompt, node: event.node, run: event.run },
    state: "running",
    total: event.total,
    batch: event.batch,
    memory: event.memory,
    chain: event.chain,
    source: event.source,
  };
}

/**
 * @param {string} id
 * @returns {Run}
 */
function empty(id) {
  return {
    id,
    place: null,
    state: "done",
    total: 0,
    done: 0,
    batch: 1,
    elapsed: 0,
    memory: 0,
    calls: {},
    chain: [],
    pulls: [],
    steps: [],
    series: {},
    marks: [],
    frames: [],
    source: "",
    result: "",
  };
}

/**
 * Takes in what an event tells.
 * @param {Run} run
 * @param {RunEvent} event
 */
export function advance(run, event) {
  if (event.kind === "steps") {
    takeSteps(run, event);
  } else if (event.kind === "end") {
    run.state = event.ok ? "done" : "failed";
    run.elapsed = event.elapsed;
    run.calls = event.calls;
  } else if (event.kind === "result") {
    run.result = event.picture;
  }
}

/**
 * @param {Run} run
 * @returns {boolean} whether it may go on
 */
export function underWay(run) {
  return run.state === "running" || run.state === "silent";
}

/**
 * @param {Run} run
 * @param {StepsEvent} event
 */
function takeSteps(run, event) {
  run.state = "running";
  for (const [offset, values] of event.values.entries()) {
    for (const name of Object.keys(values)) {
      run.series[name] ??= run.steps.map(() => null);
    }
    run.steps.push(event.from + offset);
    for (const [name, series] of Object.entries(run.series)) {
      series.push(values[name] ?? null);
    }
  }
  run.done = event.from + event.values.length;
  run.total = event.total;
  run.elapsed = event.elapsed;
  for (const [at, kind] of event.marks ?? []) run.marks.push({ at, kind });
  for (const [at, src] of event.frames ?? []) run.frames.push({ at, src });
  if (run.frames.length > KEPT_FRAMES) run.frames = thinned(run.frames, KEPT_FRAMES);
  for (const [number, pull] of event.pulls ?? []) run.pulls[number] = pull;
}

/**
 * At most `count` of `items`, evenly spread; the first and the last stay.
 * @template T
 * @param {T[]} items
 * @param {number} count
 * @returns {T[]}
 */
export function thinned(items, count) {
  if (items.length <= count) return items;
  const stride = (items.length - 1) / (count - 1);
  return Array.from({ length: count }, (_, i) => items[Math.round(i * stride)]);
}

/**
 * The sum of all losses at a position of `run.steps`; null where none acts.
 * @param {Run} run
 * @param {number} position
 * @returns {number | null}
 */
export function sumAt(run, position) {
  const values = Object.values(run.series).map((series) => series[position]);
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) : null;
}

/**
 * The run as plain data for a workflow file: curves of few points and digits, no pictures.
 * @param {Run} run
 * @returns {Record<string, unknown>}
 */
export function packed(run) {
  const kept = thinned([...run.steps.keys()], KEPT_POINTS);
  const series = Object.entries(run.series).map(([name, values]) => [
    name,
    kept.map((position) => shortened(values[position])),
  ]);
  const steps = kept.map((position) => run.steps[position]);
  return {
    version: VERSION,
    run: run.id,
    ok: run.state === "done",
    total: run.total,
    done: run.done,
    elapsed: shortened(run.elapsed),
    memory: run.memory,
    calls: run.calls,
    ...(steps.some((step, position) => step !== position) && { steps }),
    series: Object.fromEntries(series),
    marks: run.marks.slice(0, KEPT_MARKS).map(({ at, kind }) => [at, kind]),
  };
}

/**
 * @param {number | null} value
 * @returns {number | null}
 */
function shortened(value) {
  return value === null ? null : Number(value.toPrecision(KEPT_DIGITS));
}

/**
 * What `packed` made; null for anything else, as a file may hold anything.
 * @param {any} data
 * @returns {Run | null}
 */
export function unpacked(data) {
  if (data?.version !== VERSION || typeof data.series !== "object" || data.series === null) return null;
  const series = Object.entries(data.series).filter(([, values]) => Array.isArray(values));
  const length = Math.max(0, ...series.map(([, values]) => values.length));
  const counted = Array.from({ length }, (_, position) => position);
  const steps =
    Array.isArray(data.steps) && data.steps.length === length && data.steps.every(Number.isFinite)
      ? data.steps
      : counted;
  return {
    ...empty(String(data.run)),
    state: data.ok ? "done" : "failed",
    total: Number(data.total) || 0,
    done: Number(data.done) || 0,
    elapsed: Number(data.elapsed) || 0,
    memory: Number(data.memory) || 0,
    calls: Object.fromEntries(Object.entries(data.calls ?? {}).filter(([, count]) => finite(count) !== null)),
    steps,
    series: Object.fromEntries(series.map(([name, values]) => [name, fitting(values, length)])),
    marks: pairs(data.marks).map(([at, kind]) => ({
      at: Number(at),
      kind: kind === "restart" || kind === "picture" ? kind : "resample",
    })),
  };
}

/**
 * The pairs among the items of a list; none where it is no list.
 * @param {unknown} items
 * @returns {[unknown, unknown][]}
 */
export function pairs(items) {
  const found = Array.isArray(items) ? items.filter((item) => Array.isArray(item) && item.length === 2) : [];
  return /** @type {[unknown, unknown][]} */ (found);
}

/**
 * @param {unknown[]} values
 * @param {number} length
 * @returns {(number | null)[]}
 */
function fitting(values, length) {
  return Array.from({ length }, (_, position) => finite(values[position]));
}

/**
 * @param {unknown} value
 * @returns {number | null}
 */
function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}
