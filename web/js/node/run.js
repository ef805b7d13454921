/**
 * A run of a sampler: what the server has reported of it so far (nodes/live.py), or what a workflow file holds.
 *
 * @typedef {object} Term one term of a loss
 * @property {string} label in English
 * @property {string} color as in "#4c8df0"
 * @property {(number | null)[]} values the weighted loss at each of the run's `steps`; null where it was not computed
 *
 * @typedef {{ node: string, terms: string[] }} Loss the execution id of its node, the names of its terms
 * @typedef {object} Share how much of the gradient comes from a loss
 * @property {string} term the name of its first term; label and color are those of the term
 * @property {string} label
 * @property {string} color
 * @property {number} share 0 to 1, over all measurements of the run
 * @property {number} last 0 to 1, of the last measurement
 *
 * @typedef {{ step: number, picture: number, src: string }} Frame a small image of a step; `picture` counts the batch
 * @typedef {"restart" | "resample" | "picture"} MarkKind
 * @typedef {{ step: number, kind: MarkKind }} Mark
 * @typedef {{ width: number, height: number }} Size
 * @typedef {"done" | "failed" | "stopped"} Outcome stopped: by the user
 * @typedef {"running" | "silent" | Outcome} RunState silent: the connection was lost while it was running
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
 * @property {number} frameLimit how many images of each picture are shown
 * @property {number} batch pictures
 * @property {Size} size of the pictures
 * @property {number} memory bytes
 * @property {string[]} sources data URLs of the images before the run
 * @property {Loss[]} losses
 * @property {Map<string, { label: string, color: string }>} terms
 *
 * @typedef {{ loss: number, norm: number }} Gradient the norm of a loss's gradient, by its place in `losses`
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
 * @property {Gradient[][]} gradients of each measurement; a loss that was off is not in it
 *
 * @typedef {{ kind: "end", place: Place, outcome: Outcome, elapsed: number, calls: Map<string, number> }} EndEvent
 * @typedef {object} Verdict on one result (diffuseit/evaluation/verdict.py); null is what cannot be told
 * @property {boolean | null} kept the structure
 * @property {boolean | null} reached the target
 * @property {boolean | null} inPlace
 * @property {number | null} shift pixels
 * @property {number} edgeF1
 * @property {number | null} confidence of the shift
 * @property {number | null} structure distance
 * @property {number | null} probability of the target
 * @property {string | null} judge who tells whether the target is reached
 * @property {boolean} guided whether the judge guided the result too
 *
 * @typedef {object} ResultEvent
 * @property {"result"} kind
 * @property {Place} place
 * @property {string[]} pictures data URLs
 * @property {Size} size
 * @property {Verdict[]} verdicts on the first pictures
 * @typedef {BeginEvent | StepsEvent | EndEvent | ResultEvent} RunEvent
 *
 * @typedef {object} Run
 * @property {string} id
 * @property {Place | null} place null for a run from a workflow file
 * @property {RunState} state
 * @property {string} error why it failed, in the server's words; "" if unknown
 * @property {boolean} isLate whether its beginning was missed
 * @property {boolean} isCached whether its result was asked for again, and came from ComfyUI's cache
 * @property {string} inputs the fingerprint of what it was made from; "" if unknown
 * @property {number} total steps expected
 * @property {number} done steps taken
 * @property {number} elapsed seconds
 * @property {number} memory bytes
 * @property {number} batch pictures
 * @property {Size | null} size of the pictures; null if unknown
 * @property {Map<string, number>} calls network calls per step
 * @property {Loss[]} losses
 * @property {{ sum: number[], last: number[] }} gradients the norm of each loss's gradient over all measurements, and
 *   in the last one
 * @property {number[]} steps the numbers of the steps that the terms have values for
 * @property {Map<string, Term>} terms
 * @property {Mark[]} marks
 * @property {number} frameLimit
 * @property {Frame[]} frames
 * @property {string[]} sources data URLs of the images before the run; empty if unknown
 * @property {string[]} results data URLs of the images after the run; empty if unknown
 * @property {Verdict[]} verdicts on the first results; empty if unknown
 */

/** A plot is about 300 pixels wide: more points and marks than these only slow it down. */
const MAX_POINTS = 2000;
const MAX_MARKS = 500;

/**
 * @param {string} id
 * @param {Place | null} place
 * @param {Partial<Run>} [known]
 * @returns {Run} of which nothing else is known
 */
export function bareRun(id, place, known = {}) {
  return {
    id,
    place,
    state: "running",
    error: "",
    isLate: false,
    isCached: false,
    inputs: "",
    total: 0,
    done: 0,
    elapsed: 0,
    memory: 0,
    batch: 1,
    size: null,
    calls: new Map(),
    losses: [],
    gradients: { sum: [], last: [] },
    steps: [],
    terms: new Map(),
    marks: [],
    frameLimit: 2,
    frames: [],
    sources: [],
    results: [],
    verdicts: [],
    ...known,
  };
}

/**
 * @param {BeginEvent} event
 * @returns {Run}
 */
export function startRun({ place, total, frameLimit, batch, size, memory, sources, losses, terms }) {
  const none = losses.map(() => 0);
  return bareRun(place.run, place, {
    total,
    memory,
    batch,
    size,
    losses,
    gradients: { sum: none, last: none },
    terms: new Map([...terms].map(([name, term]) => [name, { ...term, values: [] }])),
    frameLimit,
    sources,
  });
}

/**
 * @param {Run} run
 * @param {Exclude<RunEvent, BeginEvent>} event
 */
export function updateRun(run, event) {
  if (event.kind === "steps") {
    addSteps(run, event);
  } else if (event.kind === "end") {
    run.state = event.outcome;
    run.elapsed = event.elapsed;
    run.calls = event.calls;
  } else {
    run.results = event.pictures;
    run.verdicts = event.verdicts;
    run.size = event.size;
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
  if (event.frames.length) addFrames(run, event.frames);
  for (const measurement of event.gradients) addMeasurement(run, measurement);
}

/**
 * @param {Run} run
 * @param {Frame[]} frames
 */
function addFrames(run, frames) {
  const all = [...run.frames, ...frames];
  const pictures = [...new Set(all.map(({ picture }) => picture))];
  run.frames = pictures.flatMap((picture) =>
    thin(
      all.filter((frame) => frame.picture === picture),
      run.frameLimit,
    ),
  );
}

/**
 * @param {Run} run
 * @param {Gradient[]} measurement
 */
function addMeasurement(run, measurement) {
  const norms = new Map(measurement.map(({ loss, norm }) => [loss, norm]));
  const last = run.losses.map((_, index) => norms.get(index) ?? 0);
  run.gradients = { sum: last.map((norm, index) => norm + run.gradients.sum[index]), last };
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
  const { sum, last } = run.gradients;
  const total = sum.reduce((whole, norm) => whole + norm, 0);
  const lastTotal = last.reduce((whole, norm) => whole + norm, 0);
  /** @type {Map<string, Share[]>} */
  const shares = new Map();
  if (!(total > 0)) return shares;
  for (const [index, { node, terms }] of run.losses.entries()) {
    const term = run.terms.get(terms[0]);
    if (!term) continue;
    const { label, color } = term;
    const share = {
      term: terms[0],
      label,
      color,
      share: sum[index] / total,
      last: lastTotal > 0 ? last[index] / lastTotal : 0,
    };
    shares.set(node, [...(shares.get(node) ?? []), share]);
  }
  return shares;
}

/**
 * @param {Run} run
 * @returns {number} how many pictures of its batch have images
 */
export function shownPictures(run) {
  return Math.max(run.results.length, 1 + Math.max(-1, ...run.frames.map(({ picture }) => picture)));
}

/**
 * @param {Run} run
 * @param {number} picture of the batch
 * @returns {Frame[]} its images; the last of them is the result in full size, if the run has one
 */
export function framesOf(run, picture) {
  const frames = run.frames.filter((frame) => frame.picture === picture);
  const src = run.results[picture];
  if (!src) return frames;
  const step = Math.max(0, run.done - 1);
  return [...frames.filter((frame) => frame.step !== step), { step, picture, src }];
}

/**
 * @param {Run} run
 * @returns {number} the picture that is being made; 0 if all are made together or none any more
 */
export function currentPicture(run) {
  if (!isActive(run)) return 0;
  const latest = Math.max(...run.frames.map(({ step }) => step));
  return run.frames.find(({ step }) => step === latest)?.picture ?? 0;
}
