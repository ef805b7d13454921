/**
 * What the server's events and the properties in a workflow file may contain.
 *
 * Either may come from a stranger. A reader returns data within `LIMITS`, or null: it repairs nothing.
 */

import { computedTerms, thin } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").RunEvent} RunEvent */
/** @typedef {import("./run.js").Share} Share */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const LIMITS = {
  text: 200, // characters of a name, a label or an id
  picture: 4_000_000, // characters of a data URL
  terms: 32,
  losses: 64,
  networks: 16,
  steps: 1e7,
  seconds: 1e9,
  bytes: 1e15,
  value: 1e300,
  frames: 100, // of a run, and in an event
  eventSteps: 10_000, // in an event
  savedPoints: 120, // of a curve in a file
  savedMarks: 60,
};
const SAVED_DIGITS = 4;
const VERSION = 1;
const COLOR = /^#[0-9a-f]{6}$/i;
const PICTURE = /^data:image\/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}$/;
const MARK_KINDS = /** @type {const} */ (["restart", "resample", "picture"]);

/** The reason for which a reader returns null. */
class Invalid extends Error {}

/**
 * @param {unknown} data of an event
 * @returns {RunEvent | null}
 */
export function readEvent(data) {
  return orNull(() => event(fields(data)));
}

/**
 * @param {unknown} data what `savedRun` returned
 * @returns {Run | null}
 */
export function readSavedRun(data) {
  return orNull(() => run(fields(data)));
}

/**
 * @param {unknown} data what `savedShares` returned
 * @returns {Share[] | null}
 */
export function readSavedShares(data) {
  return orNull(() => list(data, LIMITS.losses, (item) => share(fields(item))));
}

/**
 * @param {unknown} data the server's answer
 * @returns {Estimate | null}
 */
export function readEstimate(data) {
  return orNull(() => estimate(fields(data)));
}

/**
 * @param {Run} finished
 * @returns {Record<string, unknown>} for a workflow file: curves of few points and digits, no images
 */
export function savedRun(finished) {
  const kept = thin([...finished.steps.keys()], LIMITS.savedPoints);
  const terms = computedTerms(finished).map(([name, { label, color, values }]) => [
    name,
    { label, color, values: kept.map((position) => shortened(values[position])) },
  ]);
  return {
    version: VERSION,
    run: finished.id,
    ok: finished.state === "done",
    total: finished.total,
    done: finished.done,
    elapsed: shortened(finished.elapsed),
    memory: finished.memory,
    calls: Object.fromEntries(finished.calls),
    steps: kept.map((position) => finished.steps[position]),
    terms: Object.fromEntries(terms),
    marks: finished.marks.slice(0, LIMITS.savedMarks).map(({ step, kind }) => [step, kind]),
  };
}

/**
 * @param {Share[]} shares
 * @returns {Share[]} for a workflow file
 */
export function savedShares(shares) {
  return shares.map((part) => ({ ...part, share: Number(part.share.toFixed(3)) }));
}

/**
 * @param {number | null} value
 * @returns {number | null}
 */
function shortened(value) {
  return value === null ? null : Number(value.toPrecision(SAVED_DIGITS));
}

/**
 * @template T
 * @param {() => T} read
 * @returns {T | null}
 */
function orNull(read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof Invalid) return null;
    throw error;
  }
}

/** @typedef {Record<string, unknown>} Fields */

/**
 * @param {Fields} data
 * @returns {RunEvent}
 */
function event(data) {
  const place = {
    workflow: text(data.workflow),
    prompt: text(data.prompt),
    node: text(data.node),
    run: text(data.run),
  };
  switch (data.kind) {
    case "begin":
      return {
        kind: "begin",
        place,
        total: whole(data.total, LIMITS.steps),
        frameLimit: Math.max(2, whole(data.frame_limit, LIMITS.frames)),
        memory: number(data.memory, 0, LIMITS.bytes),
        source: picture(data.source),
        losses: list(data.losses, LIMITS.losses, (item) => loss(fields(item))),
        terms: record(data.terms, LIMITS.terms, (item) => term(fields(item))),
      };
    case "steps":
      return {
        kind: "steps",
        place,
        from: whole(data.from, LIMITS.steps),
        total: whole(data.total, LIMITS.steps),
        elapsed: number(data.elapsed, 0, LIMITS.seconds),
        values: list(data.values, LIMITS.eventSteps, (item) => record(item, LIMITS.terms, valueOrNull)),
        marks: list(data.marks ?? [], LIMITS.eventSteps, mark),
        frames: list(data.frames ?? [], LIMITS.frames, frame),
        gradients: list(data.gradients ?? [], LIMITS.losses, gradient),
      };
    case "end":
      return {
        kind: "end",
        place,
        ok: data.ok === true,
        elapsed: number(data.elapsed, 0, LIMITS.seconds),
        calls: calls(data.calls),
      };
    case "result":
      return { kind: "result", place, picture: picture(data.picture) };
    default:
      throw new Invalid();
  }
}

/**
 * @param {Fields} data
 * @returns {Run}
 */
function run(data) {
  if (data.version !== VERSION) throw new Invalid();
  const steps = list(data.steps, LIMITS.savedPoints, (item) => whole(item, LIMITS.steps));
  return {
    id: text(data.run),
    place: null,
    state: data.ok === true ? "done" : "failed",
    total: whole(data.total, LIMITS.steps),
    done: whole(data.done, LIMITS.steps),
    elapsed: number(data.elapsed, 0, LIMITS.seconds),
    memory: number(data.memory, 0, LIMITS.bytes),
    calls: calls(data.calls),
    losses: [],
    gradients: [],
    steps,
    terms: record(data.terms, LIMITS.terms, (item) => curve(fields(item), steps.length)),
    marks: list(data.marks, LIMITS.savedMarks, mark),
    frameLimit: 0,
    frames: [],
    source: "",
    result: "",
  };
}

/**
 * @param {Fields} data
 * @returns {{ label: string, color: string }}
 */
function term(data) {
  if (typeof data.color !== "string" || !COLOR.test(data.color)) throw new Invalid();
  return { label: text(data.label), color: data.color };
}

/**
 * @param {Fields} data
 * @param {number} length of its values
 * @returns {import("./run.js").Term}
 */
function curve(data, length) {
  const values = list(data.values, length, valueOrNull);
  if (values.length !== length) throw new Invalid();
  return { ...term(data), values };
}

/**
 * @param {Fields} data
 * @returns {import("./run.js").Loss}
 */
function loss(data) {
  return { node: text(data.node), terms: list(data.terms, LIMITS.terms, text) };
}

/**
 * @param {Fields} data
 * @returns {Share}
 */
function share(data) {
  return { term: text(data.term), ...term(data), share: number(data.share, 0, 1) };
}

/**
 * @param {Fields} data
 * @returns {Estimate}
 */
function estimate(data) {
  const steps = data.steps === null ? null : whole(data.steps, LIMITS.steps);
  if (data.measured === null) return { steps, measured: null };
  const measured = fields(data.measured);
  const [width, height] = pair(measured.size);
  return {
    steps,
    measured: {
      secondsPerStep: number(measured.seconds_per_step, 0, LIMITS.seconds),
      memory: number(measured.memory, 0, LIMITS.bytes),
      calls: calls(measured.calls),
      pictures: whole(measured.pictures, LIMITS.steps),
      width: whole(width, LIMITS.steps),
      height: whole(height, LIMITS.steps),
    },
  };
}

/**
 * @param {unknown} data
 * @returns {Map<string, number>}
 */
function calls(data) {
  return record(data, LIMITS.networks, (item) => number(item, 0, LIMITS.steps));
}

/**
 * @param {unknown} data
 * @returns {import("./run.js").Mark}
 */
function mark(data) {
  const [step, name] = pair(data);
  const kind = MARK_KINDS.find((known) => known === name);
  if (!kind) throw new Invalid();
  return { step: whole(step, LIMITS.steps), kind };
}

/**
 * @param {unknown} data
 * @returns {import("./run.js").Frame}
 */
function frame(data) {
  const [step, src] = pair(data);
  return { step: whole(step, LIMITS.steps), src: picture(src) };
}

/**
 * @param {unknown} data
 * @returns {{ loss: number, norm: number }}
 */
function gradient(data) {
  const [index, norm] = pair(data);
  return { loss: whole(index, LIMITS.losses), norm: number(norm, 0, LIMITS.value) };
}

/**
 * @param {unknown} data
 * @returns {Fields} an object with any keys; read those that you know
 */
function fields(data) {
  if (typeof data !== "object" || data === null || Array.isArray(data)) throw new Invalid();
  return /** @type {Fields} */ (data);
}

/**
 * @template T
 * @param {unknown} data an object whose keys are names
 * @param {number} most
 * @param {(item: unknown) => T} read
 * @returns {Map<string, T>} a map, so that `constructor` and `__proto__` are names like any other
 */
function record(data, most, read) {
  const entries = Object.entries(fields(data));
  if (entries.length > most) throw new Invalid();
  return new Map(entries.map(([name, item]) => [text(name), read(item)]));
}

/**
 * @template T
 * @param {unknown} data
 * @param {number} most
 * @param {(item: unknown) => T} read
 * @returns {T[]}
 */
function list(data, most, read) {
  if (!Array.isArray(data) || data.length > most) throw new Invalid();
  return data.map((item) => read(item));
}

/**
 * @param {unknown} data
 * @returns {unknown[]} two items
 */
function pair(data) {
  if (!Array.isArray(data) || data.length !== 2) throw new Invalid();
  return data;
}

/**
 * @param {unknown} data
 * @param {number} low
 * @param {number} high
 * @returns {number}
 */
function number(data, low, high) {
  if (typeof data !== "number" || !(data >= low && data <= high)) throw new Invalid();
  return data;
}

/**
 * @param {unknown} data
 * @param {number} high
 * @returns {number} a whole number from 0 to `high`
 */
function whole(data, high) {
  if (!Number.isInteger(data)) throw new Invalid();
  return number(data, 0, high);
}

/**
 * @param {unknown} data
 * @returns {number | null}
 */
function valueOrNull(data) {
  return data === null ? null : number(data, -LIMITS.value, LIMITS.value);
}

/**
 * @param {unknown} data
 * @returns {string}
 */
function text(data) {
  if (typeof data !== "string" || data.length > LIMITS.text) throw new Invalid();
  return data;
}

/**
 * @param {unknown} data
 * @returns {string} the data URL of an image
 */
function picture(data) {
  if (typeof data !== "string" || data.length > LIMITS.picture || !PICTURE.test(data)) throw new Invalid();
  return data;
}
