/** The modules of the front end that need no browser: data of strangers, runs, the axis. Node runs them. */

import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";

import { axisFor } from "../web/js/node/axis.js";
import {
  computedTerms,
  currentPicture,
  framesOf,
  lossShares,
  shownPictures,
  startRun,
  sumAt,
  updateRun,
} from "../web/js/node/run.js";
import {
  readEstimate,
  readEvent,
  readHistory,
  readMessage,
  readSavedRun,
  readSavedShares,
  savedRun,
  savedShares,
} from "../web/js/node/schema.js";
import { tellOnce } from "../web/js/node/refusals.js";
import { fingerprint, relevantPart, upstream } from "../web/js/shared/prompt.js";

const IMAGE = "data:image/jpeg;base64,/9j/4AAQ";
const PLACE = { workflow: "w", prompt: "p", node: "12:3", run: "r" };
const BEGIN = {
  kind: "begin",
  ...PLACE,
  total: 8,
  frame_limit: 12,
  memory: 5,
  batch: 1,
  size: [72, 54],
  sources: [IMAGE],
  losses: [
    { node: "4", terms: ["self_similarity", "contrastive"] },
    { node: "5", terms: ["range"] },
  ],
  terms: {
    self_similarity: { label: "self-similarity", color: "#4c8df0" },
    contrastive: { label: "contrastive", color: "#2aa7a0" },
    range: { label: "range", color: "#8f9aa8" },
  },
};
const STEPS = {
  kind: "steps",
  ...PLACE,
  from: 0,
  total: 8,
  elapsed: 1.5,
  values: [{ self_similarity: 1, range: 2 }, { self_similarity: 0.5 }],
  marks: [[1, "resample"]],
  frames: [[0, 0, IMAGE]],
  gradients: [
    [
      0,
      [
        [0, 3],
        [1, 1],
      ],
    ],
  ],
};
const END = { kind: "end", ...PLACE, outcome: "done", elapsed: 2, calls: { DDPM: 1 } };
const VERDICT = {
  structure_kept: true,
  target_reached: false,
  in_place: null,
  edge_f1: 0.5,
  confidence: 0.6,
  shift: null,
  structure: 0.01,
  probability: 0.2,
  judge: "pocket judge",
  guided: false,
};
const RESULT = { kind: "result", ...PLACE, pictures: [IMAGE], size: [72, 54], verdicts: [VERDICT] };
const ESTIMATE = {
  steps: 8,
  measured: { seconds_per_step: 0.5, memory: 7, calls: { DDPM: 1 }, pictures: 1, size: [64, 64] },
  size: [72, 54],
  settings: { steps: 100, method: "diffuseit", symmetric: false, skip: null },
  preset: "official-text",
  notes: [
    { kind: "no_steps", steps: 20, skip: 20 },
    { kind: "missing", models: ["a.pt"], downloads: ["a"] },
    { kind: "preset_needs", preset: "official-image", input: "style_image" },
    { kind: "unknown_words", words: ["neon"] },
    { kind: "drawn_scenes" },
    { kind: "empty_mask" },
    { kind: "no_mask" },
  ],
};
const NODE = "3";

function runOf(...events) {
  const run = startRun(readEvent(BEGIN));
  for (const event of events) updateRun(run, readEvent(event));
  return run;
}

const through = (value) => JSON.parse(JSON.stringify(value));

test("events become a run, and a run in a file is read back", () => {
  const run = runOf(STEPS, { ...STEPS, from: 2, values: [{ range: 1 }], elapsed: 2 }, END);
  assert.equal(run.state, "done");
  assert.equal(run.done, 3);
  assert.deepEqual(
    computedTerms(run).map(([name, { values }]) => [name, values]),
    [
      ["self_similarity", [1, 0.5, null]],
      ["range", [2, null, 1]],
    ],
  );
  assert.deepEqual(
    [0, 1, 2, 3].map((position) => sumAt(run, position)),
    [3, 0.5, 1, null],
  );
  const shares = lossShares(run);
  assert.deepEqual([...shares.keys()], ["4", "5"]);
  assert.deepEqual(shares.get("4"), [
    { term: "self_similarity", label: "self-similarity", color: "#4c8df0", share: 0.75, last: 0.75 },
  ]);
  assert.deepEqual(readSavedShares(through(savedShares(shares.get("4"), NODE)), NODE), shares.get("4"));

  run.inputs = "0123abcd";
  const restored = readSavedRun(through(savedRun(run, NODE)), NODE);
  assert.deepEqual([...restored.terms], computedTerms(run));
  const kept = ["id", "state", "inputs", "batch", "size", "total", "done", "elapsed", "memory", "calls"];
  for (const name of [...kept, "steps", "marks"]) assert.deepEqual(restored[name], run[name], name);
});

test("a run in a file is that of its node, and not of a copy of the node", () => {
  const run = runOf(STEPS, END);
  assert.equal(readSavedRun(through(savedRun(run, NODE)), "4"), null);
  assert.equal(readSavedShares(through(savedShares(lossShares(run).get("4"), NODE)), "4"), null);
});

test("two runs share nothing", () => {
  const [one, other] = [runOf(STEPS), runOf()];
  assert.equal(one.steps.length, 2);
  assert.deepEqual([other.steps, other.frames, other.gradients.sum], [[], [], [0, 0]]);
});

test("shares are those of the whole run, and a loss that is off has none", () => {
  const measured = (from, ...norms) => ({
    ...STEPS,
    from,
    gradients: [[from, norms.flatMap((norm, loss) => (norm === null ? [] : [[loss, norm]]))]],
  });
  const run = runOf(measured(0, 30, 10), measured(2, 3, null), measured(4, 1, 1));
  const shares = lossShares(run);
  assert.deepEqual([shares.get("4")[0].share, shares.get("5")[0].share], [34 / 45, 11 / 45]);
  assert.deepEqual([shares.get("4")[0].last, shares.get("5")[0].last], [0.5, 0.5]);
  updateRun(run, readEvent(measured(6, 2, null)));
  assert.deepEqual([lossShares(run).get("4")[0].last, lossShares(run).get("5")[0].last], [1, 0]);
  const both = { ...STEPS, gradients: [...measured(0, 1, 1).gradients, ...measured(1, 0, 2).gradients] };
  assert.deepEqual(runOf(both).gradients, { sum: [1, 3], last: [0, 2] });
  assert.equal(lossShares(runOf(measured(0, 0, 0))).size, 0);
});

test("each picture of a batch has its images, and its result as the last of them", () => {
  const begin = readEvent({ ...BEGIN, batch: 3, sources: [IMAGE, IMAGE, IMAGE] });
  const frames = (step, ...pictures) => ({
    ...STEPS,
    from: step,
    frames: pictures.map((one) => [step, one, IMAGE]),
  });
  const together = startRun(begin);
  for (let step = 0; step < 40; step++) updateRun(together, readEvent(frames(step, 0, 1, 2)));
  assert.equal(shownPictures(together), 3);
  assert.equal(currentPicture(together), 0);
  for (const picture of [0, 1, 2]) {
    const steps = framesOf(together, picture).map(({ step }) => step);
    assert.equal(steps.length, BEGIN.frame_limit);
    assert.deepEqual([steps[0], steps.at(-1)], [0, 39]);
  }
  const results = [1, 2, 3].map((number) => `data:image/png;base64,AAA${number}`);
  updateRun(together, readEvent({ ...RESULT, pictures: results }));
  assert.deepEqual(
    [0, 1, 2].map((picture) => framesOf(together, picture).at(-1).src),
    results,
  );

  const { kept, reached, inPlace, shift } = together.verdicts[0];
  assert.deepEqual([kept, reached, inPlace, shift], [true, false, null, null]);
  const answers = { structure_kept: "yes", in_place: 1, edge_f1: 2, judge: {} };
  for (const [name, value] of Object.entries(answers)) {
    assert.equal(readEvent({ ...RESULT, verdicts: [{ ...VERDICT, [name]: value }] }), null, name);
  }
  assert.deepEqual(readEvent({ ...RESULT, verdicts: undefined }).verdicts, []);

  const oneByOne = startRun(begin);
  for (const picture of [0, 1]) updateRun(oneByOne, readEvent(frames(4 * picture, picture)));
  assert.deepEqual([shownPictures(oneByOne), currentPicture(oneByOne)], [2, 1]);
  updateRun(oneByOne, readEvent(END));
  assert.equal(currentPicture(oneByOne), 0);
});

test("a history is a list of events, all of them good", () => {
  assert.deepEqual(
    readHistory({ events: [BEGIN, STEPS, END] }).map(({ kind }) => kind),
    ["begin", "steps", "end"],
  );
  assert.equal(readHistory({ events: [BEGIN, { ...STEPS, elapsed: -1 }] }), null);
  assert.equal(readHistory([BEGIN]), null);
});

test("an error is told in one bounded line", () => {
  assert.equal(readMessage("one\n  two\t"), "one two");
  assert.ok(readMessage("x".repeat(100_000)).length <= 2000);
  assert.equal(readMessage({ toString: 3 }), "");
});

const PROMPT = {
  1: { class_type: "DiffuseITLoadDDPM", inputs: { model: "pocket" } },
  2: { class_type: "LoadImage", inputs: { image: "a.png", secret: "x".repeat(5000) } },
  3: {
    class_type: "ImageScale",
    inputs: { image: ["2", 0], width: 100, height: 50, crop: "center", curve: [[0, 1]] },
  },
  "9:7": {
    class_type: "DiffuseITSampler",
    inputs: { seed: 3, ddpm: ["1", 0], image: ["3", 0], gone: ["8", 0] },
  },
  6: { class_type: "PreviewImage", inputs: { images: ["9:7", 0] } },
};

test("a fingerprint tells what a result depends on", () => {
  assert.deepEqual(upstream(PROMPT, "9:7").sort(), ["1", "2", "3", "9:7"]);
  const print = fingerprint(PROMPT, "9:7");
  const changed = (id, inputs) =>
    fingerprint({ ...PROMPT, [id]: { ...PROMPT[id], inputs: { ...PROMPT[id].inputs, ...inputs } } }, "9:7");
  assert.match(print, /^[0-9a-f]{16}$/);
  assert.equal(changed("6", { images: ["1", 0] }), print);
  for (const [id, inputs] of [
    ["9:7", { seed: 4 }],
    ["1", { model: "other" }],
    ["2", { image: "b.png" }],
    ["3", { image: ["1", 0] }],
  ]) {
    assert.notEqual(changed(id, inputs), print, id);
  }
  const { inputs } = PROMPT["9:7"];
  const reversed = Object.fromEntries(Object.entries(inputs).reverse());
  assert.equal(changed("9:7", reversed), print);
  assert.equal(fingerprint({ ...PROMPT, "9:7": { ...PROMPT["9:7"], inputs: reversed } }, "9:7"), print);
  const circle = { 1: { class_type: "x", inputs: { a: ["1", 0] } } };
  assert.equal(fingerprint(circle, "1").length, 16);
});

test("the server gets what it needs of a prompt, and little of other packs' nodes", () => {
  const part = relevantPart(PROMPT, "9:7");
  assert.deepEqual(Object.keys(part).sort(), ["1", "2", "3", "9:7"]);
  assert.deepEqual(part["9:7"].inputs, PROMPT["9:7"].inputs);
  assert.deepEqual(part[2].inputs, { image: "a.png" });
  assert.deepEqual(part[3].inputs, { image: ["2", 0], width: 100, height: 50, crop: "center" });
});

test("a long run keeps a bounded number of points, marks and images, the last among them", () => {
  const run = startRun(readEvent(BEGIN));
  for (let from = 0; from < 300_000; from += 5000) {
    const numbers = Array.from({ length: 5000 }, (_, i) => from + i);
    const values = numbers.map((range) => ({ range }));
    const marks = numbers.map((step) => [step, "resample"]);
    updateRun(run, readEvent({ ...STEPS, from, values, marks, frames: [[from, 0, IMAGE]] }));
  }
  const last = 299_999;
  const { values } = run.terms.get("range");
  assert.equal(run.done, last + 1);
  assert.deepEqual([run.steps.at(-1), values.at(-1), run.marks.at(-1).step], [last, last, last]);
  assert.equal(values.length, run.steps.length);
  assert.ok(run.steps.length <= 2000 && run.marks.length <= 500 && run.frames.length <= 12);
  assert.deepEqual(values, run.steps);
  assert.ok(readSavedRun(through(savedRun(run, NODE)), NODE));
});

test("names like `constructor` are names", () => {
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
  const entry = (name, value) => `"${name}": ${JSON.stringify(value)}`;
  const record = (value) => JSON.parse(`{${names.map((name) => entry(name, value)).join()}}`);
  const term = { label: "x", color: "#000000" };
  const losses = names.map((name) => ({ node: name, terms: [name] }));
  const run = startRun(readEvent({ ...BEGIN, terms: record(term), losses }));
  const gradients = [[0, names.map((_, index) => [index, 1])]];
  updateRun(run, readEvent({ ...STEPS, values: [record(1)], gradients }));
  updateRun(run, readEvent({ ...END, calls: record(2) }));
  const restored = readSavedRun(through(savedRun(run, NODE)), NODE);
  assert.deepEqual([...restored.terms.keys()], names);
  assert.deepEqual([...restored.calls.keys()], names);
  assert.equal(lossShares(run).get("__proto__")[0].share, 0.25);
  assert.equal({}.label, undefined);
});

test("what breaks a bound is refused", () => {
  const saved = through(savedRun(runOf(STEPS, END), NODE));
  const savedBar = through(savedShares(lossShares(runOf(STEPS)).get("4"), NODE));
  const [share] = savedBar.shares;
  const [name, term] = Object.entries(saved.terms)[0];
  for (const change of [
    { version: 1 },
    { node: "4" },
    { outcome: "running" },
    { size: [1] },
    { total: 1.5 },
    { total: 1e8 },
    { done: -1 },
    { run: "x".repeat(201) },
    { steps: [0] },
    { terms: { [name]: { ...term, values: [1] } } },
    { terms: { [name]: { ...term, values: [1, 2, 3] } } },
    { terms: { [name]: { ...term, color: "red" } } },
    { marks: [[0, "other"]] },
    { marks: Array.from({ length: 61 }, () => [0, "resample"]) },
    { calls: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, 1])) },
  ]) {
    assert.equal(readSavedRun({ ...saved, ...change }, NODE), null, JSON.stringify(change));
  }
  const bar = (shares) => readSavedShares({ ...savedBar, shares }, NODE);
  assert.notEqual(bar([share]), null);
  for (const change of [
    { share: 1.01 },
    { share: -0.01 },
    { last: 2 },
    { label: 3 },
    { color: "#1234567" },
  ]) {
    assert.equal(bar([{ ...share, ...change }]), null, JSON.stringify(change));
  }
  assert.equal(bar(Array.from({ length: 65 }, () => share)), null);
  assert.equal(readSavedShares([share], NODE), null);
  for (const source of [
    "",
    "https://example.com/a.png",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "data:text/html;base64,PHA+",
    "data:image/png;base64,<b>",
    "data:image/png,PHA+",
    `data:image/png;base64,${"A".repeat(4_000_000)}`,
  ]) {
    assert.equal(readEvent({ ...BEGIN, sources: [source] }), null, source.slice(0, 40));
    assert.equal(readEvent({ ...STEPS, frames: [[0, 0, source]] }), null, source.slice(0, 40));
    assert.equal(readEvent({ ...RESULT, pictures: [source] }), null, source.slice(0, 40));
  }
  for (const change of [{ kind: "other" }, { node: 7 }, { values: {} }, { gradients: [[0, [[0, -1]]]] }]) {
    assert.equal(readEvent({ ...STEPS, ...change }), null, JSON.stringify(change));
  }
});

/** What may stand in the place of any value. */
const HOSTILE = [
  ...[null, true, -1, 1.5, 1e9, 1e308, -1e308, 5e-324, "", "x".repeat(201), "constructor", "__proto__"],
  ...["<img src=x onerror=alert(1)>", "javascript:alert(1)", "data:text/html;base64,PHA+", "#12345", "red"],
  ...["data:image/svg+xml;base64,PHN2Zz4=", "data:image/png;base64,<b>", "url(https://example.com/)"],
  ...[[], {}, [[]], [1, 2, 3], { length: 5 }, { toString: 3 }, JSON.parse('{"__proto__": {"a": 1}}')],
  Array.from({ length: 200_000 }, (_, i) => [i, "resample"]),
  Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`name ${i}`, 1])),
];

/** Mulberry32: the same numbers each time. */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A copy of plain data in which one value or key is hostile. */
function mutated(data, random) {
  const isLeaf = typeof data !== "object" || data === null || random() < 0.1;
  if (isLeaf) return HOSTILE[Math.floor(random() * HOSTILE.length)];
  const keys = Object.keys(data);
  const key = keys[Math.floor(random() * keys.length)];
  if (Array.isArray(data)) return data.map((item, i) => (String(i) === key ? mutated(item, random) : item));
  const change = random();
  const entries = Object.entries(data).flatMap(([name, item]) => {
    if (name !== key) return [[name, item]];
    if (change < 0.05) return [];
    if (change < 0.1) return [["constructor", item]];
    return [[name, mutated(item, random)]];
  });
  return Object.fromEntries(entries);
}

/** Everything that is read must be small plain data. */
function assertHarmless(data, depth = 0) {
  assert.ok(depth < 8);
  if (typeof data === "number") return assert.ok(Number.isFinite(data));
  if (typeof data === "string") {
    const isImage = /^data:image\/(jpeg|png|webp);base64,[A-Za-z0-9+/=]+$/.test(data);
    return assert.ok(data.length <= 200 || isImage);
  }
  if (typeof data !== "object" || data === null) return assert.notEqual(typeof data, "function");
  const items = data instanceof Map ? [...data].flat() : Object.values(data);
  assert.ok(items.length <= 10_000);
  for (const item of items) assertHarmless(item, depth + 1);
}

test("mutated data is read within bounds or refused", () => {
  const random = generator(1);
  const saved = through(savedRun(runOf(STEPS, END), NODE));
  const shares = through(savedShares(lossShares(runOf(STEPS)).get("4"), NODE));
  const cases = [
    [readEvent, BEGIN],
    [readEvent, STEPS],
    [readEvent, END],
    [readEvent, RESULT],
    [readHistory, { events: [BEGIN, STEPS, END, RESULT] }],
    [(data) => readSavedRun(data, NODE), saved],
    [(data) => readSavedShares(data, NODE), shares],
    [readEstimate, ESTIMATE],
  ];
  let refused = 0;
  const count = Number(process.env.FUZZ_EXAMPLES ?? 500);
  for (const [read, valid] of cases) {
    assert.notEqual(read(valid), null);
    for (const value of [undefined, ...HOSTILE]) read(value);
    for (let i = 0; i < count; i++) {
      const data = read(mutated(valid, random));
      if (data === null) refused++;
      else assertHarmless(data);
    }
  }
  assert.ok(refused > 0.5 * count * cases.length, "most mutations break a bound");
});

test("the axis has a place for every value", () => {
  const random = generator(2);
  const special = [0, -0, 1, -1, 5e-324, -5e-324, 1e-300, 1e300, -1e300, 1e15, 1e15 + 1];
  const value = () => {
    if (random() < 0.3) return special[Math.floor(random() * special.length)];
    return (random() - 0.5) * 10 ** (random() * 600 - 300);
  };
  const lists = Array.from({ length: 3000 }, () => Array.from({ length: Math.floor(random() * 6) }, value));
  const many = Array.from({ length: 300_000 }, random);
  for (const values of [...lists, many]) {
    for (const isLogarithmic of [true, false]) {
      const { position, ticks } = axisFor(values, isLogarithmic);
      const outside = values.filter((one) => !(position(one) >= 0 && position(one) <= 1));
      assert.deepEqual(outside, [], `of ${values.slice(0, 9)}`);
      assert.ok(ticks.length <= 9 && ticks.every(Number.isFinite), `${ticks} of ${values.slice(0, 9)}`);
    }
  }
});

test("what a node says of several inputs together is told once", () => {
  const fault = (input, sentence, type = "custom_validation_failed") => ({
    type,
    details: `${input} - ${sentence}`,
    extra_info: { input_name: input },
  });
  const skip = "skip is 8 of 8 steps: it must leave at least one step";
  const faults = [fault("steps", skip), fault("skip", skip), fault("seed", "seed is -1"), fault("skip", skip, "other")];
  const own = { class_type: "DiffuseITSampler", errors: faults };
  const foreign = { class_type: "KSampler", errors: faults };
  tellOnce({ response: { node_errors: { 1: own, 2: foreign } } });
  assert.deepEqual(own.errors, faults.slice(1));
  assert.deepEqual(foreign.errors, faults);
  for (const other of [null, new Error("no answer"), { response: {} }]) tellOnce(other);
});
