/**
 * A run of a sampler: what the server has reported of it so far (nodes/live.py), or what a workflow file holds.
 *
 * @typedef {object} Term one term of a loss
 * @property {string} label in English
 * @property {string} color as in "#4c8df0"
 * @property {(number | null)[]} values the weighted loss at each of the run's `steps`; null where it was not computed
 *
 * @typedef {{ node: string, terms: string[] }} Loss the execution id of its node, the names of its terms
 * @typedef {{ term: string, label: string, color: string, share: number }} Share how much of the gradient comes from a
 *   loss, 0 to 1; name, label and color are those of its first term
 * @typedef {{ step: number, src: string }} Frame a small image of a step
 * @typedef {"restart" | "resample" | "picture"} MarkKind
 * @typedef {{ step: number, kind: MarkKind }} Mark
 * @typedef {"running" | "silent" | "done" | "failed"} RunState silent: the connection was lost while it was running
 *
 * @typedef {object} Place where a run is shown
 * @property {string} workflow the id of the workflow that was queued; "" if unknown
 * @property {string} prompt the server's id of what was queued
 * @property {string} node the execution id of the sampler, "12:3" inside subgraph node 12
 * @property {string} run
 *
 * @typedef {object} BeginEvent
 * @property {"begin"} kind
 * @property {Place} place
 * @property {number} total steps
 * @property {number} frameLimit how many images are shown
 * @property {number} memory bytes
 * @property {string} source data URL of the image before the run
 * @property {Loss[]} losses
 * @property {Map<string, { label: string, color: string }>} terms
 *
 * @typedef {object} StepsEvent
 * @property {"steps"} kind
 * @property {Place} place
 * @property {number} from the number of the first step in `values`
 * @property {number} total steps
 * @property {number} elapsed seconds
 * @property {Map<string, number | null>[]} values of each step, by term
 * @property {Mark[]} marks
 * @property {Frame[]} frames
 * @property {{ loss: number, norm: number }[]} gradients the norm of each loss's gradient, by its place in `losses`
 *
 * @typedef {{ kind: "end", place: Place, ok: boolean, elapsed: number, calls: Map<string, number> }} EndEvent
 * @typedef {{ kind: "result", place: Place, picture: string }} ResultEvent
 * @typedef {BeginEvent | StepsEvent | EndEvent | ResultEvent} RunEvent
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {Place | null} place null for a run from a workflow file
 * @property {RunState} state
 * @property {number} total steps expected
 * @property {number} done steps taken
 * @property {number} elapsed seconds
 * @property {number} memory bytes
 * @property {Map<string, number>} calls network calls per step
 * @property {Loss[]} losses
 * @property {number[]} gradients the norm of each loss's gradient when it was last measured
 * @property {number[]} steps the numbers of the steps that the terms have values for
 * @property {Map<string, Term>} terms
 * @property {Mark[]} marks
 * @property {number} frameLimit
 * @property {Frame[]} frames
 * @property {string} source data URL of the image before the run; "" if unknown
 * @property {string} result data URL of the image after the run; "" if unknown
 */

/** A plot is about 300 pixels wide: more points and marks than these only slow it down. */
const MAX_POINTS = 2000;
const MAX_MARKS = 500;

/**
 * @param {BeginEvent} event
 * @returns {Run}
 */
export function startRun({ place, total, frameLimit, memory, source, losses, terms }) {
  return {
    id: place.run,
    place,
    state: "running",
    total,
    done: 0,
    elapsed: 0,
    memory,
    calls: new Map(),
    losses,
    gradients: losses.map(() => 0),
    steps: [],
    terms: new Map([...terms].map(([name, term]) => [name, { ...term, values: [] }])),
    marks: [],
    frameLimit,
    frames: [],
    source,
    result: "",
  };
}

/**
 * @param {Run} run
 * @param {Exclude<RunEvent, BeginEvent>} event
 */
export function updateRun(run, event) {
  if (event.kind === "steps") {
    addSteps(run, event);
  } else if (event.kind === "end") {
    run.state = event.ok ? "done" : "failed";
    run.elapsed = event.elapsed;
    run.calls = event.calls;
  } else {
    run.result = event.picture;
  }
}

/**
 * @param {Run} run
 * @param {StepsEvent} event
 */
function addSteps(run, event) {
  run.state = "running";
  run.done = event.from + event.values.length;
  run.total = event.total;
  run.elapsed = event.elapsed;
  for (const [offset, values] of event.values.entries()) {
    run.steps.push(event.from + offset);
    for (const [name, term] of run.terms) term.values.push(values.get(name) ?? null);
  }
  if (run.steps.length > MAX_POINTS) keepPoints(run, MAX_POINTS / 2);
  run.marks = thin([...run.marks, ...event.marks], MAX_MARKS);
  run.frames = thin([...run.frames, ...event.frames], run.frameLimit);
  for (const { loss, norm } of event.gradients) {
    if (loss < run.losses.length) run.gradients[loss] = norm;
  }
}

/**
 * @param {Run} run
 * @param {number} count of points that each curve keeps
 */
function keepPoints(run, count) {
  const kept = thin([...run.steps.keys()], count);
  run.steps = kept.map((position) => run.steps[position]);
  for (const term of run.terms.values()) term.values = kept.map((position) => term.values[position]);
}

/**
 * Returns at most `count` of `items`, evenly spaced, the first and the last among them.
 * @template T
 * @param {T[]} items
 * @param {number} count at least 2
 * @returns {T[]}
 */
export function thin(items, count) {
  if (items.length <= count) return items;
  const stride = (items.length - 1) / (count - 1);
  return Array.from({ length: count }, (_, i) => items[Math.round(i * stride)]);
}

/**
 * @param {Run} run
 * @returns {boolean} whether it may go on
 */
export function isActive(run) {
  return run.state === "running" || run.state === "silent";
}

/**
 * @param {Run} run
 * @returns {[string, Term][]} the terms that have a value, by name
 */
export function computedTerms(run) {
  return [...run.terms].filter(([, { values }]) => values.some((value) => value !== null));
}

/**
 * @param {Run} run
 * @param {number} position in `run.steps`
 * @returns {number | null} the sum of all terms; null if none was computed
 */
export function sumAt(run, position) {
  /** @type {number | null} */
  let sum = null;
  for (const { values } of run.terms.values()) {
    const value = values[position] ?? null;
    if (value !== null) sum = (sum ?? 0) + value;
  }
  return sum;
}

/**
 * @param {Run} run
 * @returns {Map<string, Share[]>} by the execution id of the loss's node; empty before the first measurement
 */
export function lossShares(run) {
  const total = run.gradients.reduce((sum, norm) => sum + norm, 0);
  /** @type {Map<string, Share[]>} */
  const shares = new Map();
  if (!(total > 0)) return shares;
  for (const [index, { node, terms }] of run.losses.entries()) {
    const term = run.terms.get(terms[0]);
    if (!term) continue;
    const { label, color } = term;
    const share = { term: terms[0], label, color, share: run.gradients[index] / total };
    shares.set(node, [...(shares.get(node) ?? []), share]);
  }
  return shares;
}
