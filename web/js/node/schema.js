/**
 * What the server's events and the properties in a workflow file may contain.
 *
 * Either may come from a stranger. A reader returns data within `LIMITS`, or null: it repairs nothing.
 */

import { bareRun, computedTerms, isActive, thin } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").RunEvent} RunEvent */
/** @typedef {import("./run.js").Share} Share */
/** @typedef {import("./estimate.js").Estimate} Estimate */
/** @typedef {import("./notes.js").Note} Note */

const LIMITS = {
  text: 200, // characters of a name, a label or an id
  message: 2000, // characters of an error
  picture: 4_000_000, // characters of a data URL
  batch: 1e6, // pictures
  results: 16, // pictures of a batch that are shown
  terms: 32,
  losses: 64,
  networks: 16,
  steps: 1e7,
  seconds: 1e9,
  bytes: 1e15,
  value: 1e300,
  frames: 100, // of a run, and in an event
  eventSteps: 10_000, // in an event
  historyEvents: 100_000,
  notes: 16,
  words: 64, // in a note
  settings: 64,
  savedPoints: 120, // of a curve in a file
  savedMarks: 60,
};
const SAVED_DIGITS = 4;
const VERSION = 2;
const COLOR = /^#[0-9a-f]{6}$/i;
const PICTURE = /^data:image\/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}$/;
const OUTCOMES = /** @type {const} */ (["done", "failed", "stopped"]);
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
 * @param {unknown} data the server's answer
 * @returns {RunEvent[] | null} the events of a run so far
 */
export function readHistory(data) {
  return orNull(() => list(fields(data).events, LIMITS.historyEvents, (item) => event(fields(item))));
}

/**
 * @param {unknown} data what `savedRun` returned
 * @param {string} node the id of the node in whose properties it is
 * @returns {Run | null} null also for a run of another node, from which this one was copied
 */
export function readSavedRun(data, node) {
  return orNull(() => run(fields(data), node));
}

/**
 * @param {unknown} data what `savedShares` returned
 * @param {string} node the id of the node in whose properties it is
 * @returns {Share[] | null} null also for those of another node
 */
export function readSavedShares(data, node) {
  return orNull(() => shares(fields(data), node));
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
 * @param {string} node the id of the node that shows it
 * @returns {Record<string, unknown>} for a workflow file: curves of few points and digits, no images
 */
export function savedRun(finished, node) {
  const kept = thin([...finished.steps.keys()], LIMITS.savedPoints);
  const terms = computedTerms(finished).map(([name, { label, color, values }]) => [
    name,
    { label, color, values: kept.map((position) => shortened(values[position])) },
  ]);
  return {
    version: VERSION,
    node,
    run: finished.id,
    outcome: isActive(finished) ? "failed" : finished.state,
    inputs: finished.inputs,
    batch: finished.batch,
    size: finished.size && [finished.size.width, finished.size.height],
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
 * @param {Share[]} parts
 * @param {string} node the id of the node that shows them
 * @returns {Record<string, unknown>} for a workflow file
 */
export function savedShares(parts, node) {
  const rounded = (/** @type {number} */ value) => Number(value.toFixed(3));
  const short = parts.map((part) => ({ ...part, share: rounded(part.share), last: rounded(part.last) }));
  return { version: VERSION, node, shares: short };
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
        batch: Math.max(1, whole(data.batch, LIMITS.batch)),
        size: size(data.size),
        memory: number(data.memory, 0, LIMITS.bytes),
        sources: list(data.sources, LIMITS.results, picture),
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
        gradients: list(data.gradients ?? [], LIMITS.eventSteps, measurement),
      };
    case "end":
      return {
        kind: "end",
        place,
        outcome: oneOf(OUTCOMES, data.outcome),
        elapsed: number(data.elapsed, 0, LIMITS.seconds),
        calls: calls(data.calls),
      };
    case "result":
      return {
        kind: "result",
        place,
        pictures: list(data.pictures, LIMITS.results, picture),
        size: size(data.size),
        verdicts: list(data.verdicts ?? [], LIMITS.results, (item) => verdict(fields(item))),
      };
    default:
      throw new Invalid();
  }
}

/**
 * @param {Fields} data
 * @param {string} node whose run it must be
 * @returns {Run}
 */
function run(data, node) {
  if (data.version !== VERSION || data.node !== node) throw new Invalid();
  const steps = list(data.steps, LIMITS.savedPoints, (item) => whole(item, LIMITS.steps));
  return bareRun(text(data.run), null, {
    state: oneOf(OUTCOMES, data.outcome),
    inputs: text(data.inputs),
    batch: Math.max(1, whole(data.batch, LIMITS.batch)),
    size: data.size === null ? null : size(data.size),
    total: whole(data.total, LIMITS.steps),
    done: whole(data.done, LIMITS.steps),
    elapsed: number(data.elapsed, 0, LIMITS.seconds),
    memory: number(data.memory, 0, LIMITS.bytes),
    calls: calls(data.calls),
    steps,
    terms: record(data.terms, LIMITS.terms, (item) => curve(fields(item), steps.length)),
    marks: list(data.marks, LIMITS.savedMarks, mark),
  });
}

/**
 * @param {Fields} data
 * @returns {import("./run.js").Verdict}
 */
function verdict(data) {
  return {
    kept: answer(data.structure_kept),
    reached: answer(data.target_reached),
    inPlace: answer(data.in_place),
    shift: valueOrNull(data.shift),
    edgeF1: number(data.edge_f1, 0, 1),
    confidence: valueOrNull(data.confidence),
    structure: valueOrNull(data.structure),
    probability: valueOrNull(data.probability),
    judge: data.judge === null ? null : text(data.judge),
    guided: data.guided === true,
  };
}

/**
 * @param {unknown} data
 * @returns {boolean | null}
 */
function answer(data) {
  if (data !== null && typeof data !== "boolean") throw new Invalid();
  return data;
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
  return {
    term: text(data.term),
    ...term(data),
    share: number(data.share, 0, 1),
    last: number(data.last, 0, 1),
  };
}

/**
 * @param {Fields} data
 * @param {string} node whose shares they must be
 * @returns {Share[]}
 */
function shares(data, node) {
  if (data.version !== VERSION || data.node !== node) throw new Invalid();
  return list(data.shares, LIMITS.losses, (item) => share(fields(item)));
}

/**
 * @param {Fields} data
 * @returns {Estimate}
 */
function estimate(data) {
  return {
    steps: data.steps === null ? null : whole(data.steps, LIMITS.steps),
    measured: data.measured === null ? null : figures(fields(data.measured)),
    size: data.size === null ? null : size(data.size),
    settings: record(data.settings, LIMITS.settings, setting),
    preset: data.preset === null ? null : text(data.preset),
    notes: list(data.notes, LIMITS.notes, (item) => note(fields(item))),
  };
}

/**
 * @param {Fields} data
 * @returns {import("./estimate.js").Figures}
 */
function figures(data) {
  return {
    secondsPerStep: number(data.seconds_per_step, 0, LIMITS.seconds),
    memory: number(data.memory, 0, LIMITS.bytes),
    calls: calls(data.calls),
    pictures: whole(data.pictures, LIMITS.steps),
    ...size(data.size),
  };
}

/**
 * @param {unknown} data
 * @returns {import("./estimate.js").Value}
 */
function setting(data) {
  if (data === null || typeof data === "boolean") return data;
  return typeof data === "string" ? text(data) : number(data, -LIMITS.value, LIMITS.value);
}

/**
 * @param {Fields} data
 * @returns {Note}
 */
function note(data) {
  const words = (/** @type {unknown} */ items) => list(items, LIMITS.words, text);
  switch (data.kind) {
    case "no_steps":
      return {
        kind: data.kind,
        steps: whole(data.steps, LIMITS.steps),
        skip: whole(data.skip, LIMITS.steps),
      };
    case "missing":
      return { kind: data.kind, models: words(data.models), downloads: words(data.downloads) };
    case "preset_needs":
      return { kind: data.kind, preset: text(data.preset), input: text(data.input) };
    case "unknown_words":
      return { kind: data.kind, words: words(data.words) };
    case "drawn_scenes":
    case "empty_mask":
    case "no_mask":
      return { kind: data.kind };
    default:
      throw new Invalid();
  }
}

/**
 * @param {unknown} data
 * @returns {import("./run.js").Size}
 */
function size(data) {
  const [width, height] = pair(data);
  return { width: whole(width, LIMITS.steps), height: whole(height, LIMITS.steps) };
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
  const [step, kind] = pair(data);
  return { step: whole(step, LIMITS.steps), kind: oneOf(MARK_KINDS, kind) };
}

/**
 * @param {unknown} data
 * @returns {import("./run.js").Frame}
 */
function frame(data) {
  const [step, item, src] = list(data, 3, (part) => part);
  return { step: whole(step, LIMITS.steps), picture: whole(item, LIMITS.results - 1), src: picture(src) };
}

/**
 * @param {unknown} data of a step: the norm of each loss's gradient
 * @returns {import("./run.js").Gradient[]}
 */
function measurement(data) {
  const [step, norms] = pair(data);
  whole(step, LIMITS.steps);
  return list(norms, LIMITS.losses, gradient);
}

/**
 * @param {unknown} data
 * @returns {import("./run.js").Gradient}
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
 * @template {string} Choice
 * @param {readonly Choice[]} choices
 * @param {unknown} data
 * @returns {Choice}
 */
function oneOf(choices, data) {
  const found = choices.find((choice) => choice === data);
  if (found === undefined) throw new Invalid();
  return found;
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
 * @param {unknown} data what ComfyUI tells of a node that failed
 * @returns {string} in one line of bounded length; "" if it tells nothing
 */
export function readMessage(data) {
  return typeof data === "string" ? data.slice(0, LIMITS.message).replace(/\s+/g, " ").trim() : "";
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
