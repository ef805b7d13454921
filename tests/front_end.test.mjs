/** The modules of the front end that need no browser: data of strangers, runs, the axis. Node runs them. */

import assert from "node:assert/strict";
import process from "node:process";
import test from "node:test";

import { axisFor } from "../web/js/node/axis.js";
import { computedTerms, lossShares, startRun, sumAt, updateRun } from "../web/js/node/run.js";
import {
  readEstimate,
  readEvent,
  readSavedRun,
  readSavedShares,
  savedRun,
  savedShares,
} from "../web/js/node/schema.js";

const IMAGE = "data:image/jpeg;base64,/9j/4AAQ";
const PLACE = { workflow: "w", prompt: "p", node: "12:3", run: "r" };
const BEGIN = {
  kind: "begin",
  ...PLACE,
  total: 8,
  frame_limit: 12,
  memory: 5,
  source: IMAGE,
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
  frames: [[0, IMAGE]],
  gradients: [
    [0, 3],
    [1, 1],
  ],
};
const END = { kind: "end", ...PLACE, ok: true, elapsed: 2, calls: { DDPM: 1 } };
const ESTIMATE = {
  steps: 8,
  measured: { seconds_per_step: 0.5, memory: 7, calls: { DDPM: 1 }, pictures: 1, size: [64, 64] },
};

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
    { term: "self_similarity", label: "self-similarity", color: "#4c8df0", share: 0.75 },
  ]);
  assert.deepEqual(readSavedShares(through(savedShares(shares.get("4")))), shares.get("4"));

  const restored = readSavedRun(through(savedRun(run)));
  assert.deepEqual([...restored.terms], computedTerms(run));
  for (const name of ["id", "state", "total", "done", "elapsed", "memory", "calls", "steps", "marks"]) {
    assert.deepEqual(restored[name], run[name], name);
  }
});

test("a long run keeps a bounded number of points, marks and images, the last among them", () => {
  const run = startRun(readEvent(BEGIN));
  for (let from = 0; from < 300_000; from += 5000) {
    const numbers = Array.from({ length: 5000 }, (_, i) => from + i);
    const values = numbers.map((range) => ({ range }));
    const marks = numbers.map((step) => [step, "resample"]);
    updateRun(run, readEvent({ ...STEPS, from, values, marks, frames: [[from, IMAGE]] }));
  }
  const last = 299_999;
  const { values } = run.terms.get("range");
  assert.equal(run.done, last + 1);
  assert.deepEqual([run.steps.at(-1), values.at(-1), run.marks.at(-1).step], [last, last, last]);
  assert.equal(values.length, run.steps.length);
  assert.ok(run.steps.length <= 2000 && run.marks.length <= 500 && run.frames.length <= 12);
  assert.deepEqual(values, run.steps);
  assert.ok(readSavedRun(through(savedRun(run))));
});

test("names like `constructor` are names", () => {
  const names = ["constructor", "__proto__", "toString", "hasOwnProperty"];
  const entry = (name, value) => `"${name}": ${JSON.stringify(value)}`;
  const record = (value) => JSON.parse(`{${names.map((name) => entry(name, value)).join()}}`);
  const term = { label: "x", color: "#000000" };
  const losses = names.map((name) => ({ node: name, terms: [name] }));
  const run = startRun(readEvent({ ...BEGIN, terms: record(term), losses }));
  const gradients = names.map((_, index) => [index, 1]);
  updateRun(run, readEvent({ ...STEPS, values: [record(1)], gradients }));
  updateRun(run, readEvent({ ...END, calls: record(2) }));
  const restored = readSavedRun(through(savedRun(run)));
  assert.deepEqual([...restored.terms.keys()], names);
  assert.deepEqual([...restored.calls.keys()], names);
  assert.equal(lossShares(run).get("__proto__")[0].share, 0.25);
  assert.equal({}.label, undefined);
});

test("what breaks a bound is refused", () => {
  const saved = through(savedRun(runOf(STEPS, END)));
  const [share] = through(savedShares(lossShares(runOf(STEPS)).get("4")));
  const [name, term] = Object.entries(saved.terms)[0];
  for (const change of [
    { version: 2 },
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
    assert.equal(readSavedRun({ ...saved, ...change }), null, JSON.stringify(change));
  }
  for (const change of [{ share: 1.01 }, { share: -0.01 }, { label: 3 }, { color: "#1234567" }]) {
    assert.equal(readSavedShares([{ ...share, ...change }]), null, JSON.stringify(change));
  }
  assert.equal(readSavedShares(Array.from({ length: 65 }, () => share)), null);
  for (const source of [
    "",
    "https://example.com/a.png",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "data:text/html;base64,PHA+",
    "data:image/png;base64,<b>",
    "data:image/png,PHA+",
    `data:image/png;base64,${"A".repeat(4_000_000)}`,
  ]) {
    assert.equal(readEvent({ ...BEGIN, source }), null, source.slice(0, 40));
    assert.equal(readEvent({ ...STEPS, frames: [[0, source]] }), null, source.slice(0, 40));
  }
  for (const change of [{ kind: "other" }, { node: 7 }, { values: {} }, { gradients: [[0, -1]] }]) {
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
  const saved = through(savedRun(runOf(STEPS, END)));
  const shares = through(savedShares(lossShares(runOf(STEPS)).get("4")));
  const cases = [
    [readEvent, BEGIN],
    [readEvent, STEPS],
    [readEvent, END],
    [readEvent, { kind: "result", ...PLACE, picture: IMAGE }],
    [readSavedRun, saved],
    [readSavedShares, shares],
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
