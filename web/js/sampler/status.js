// @ts-check
/** The line of words above the curves. */

import { underWay } from "./run.js";
import { duration, say, size } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./estimate.js").Estimate} Estimate */

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate of the next run
 * @returns {string}
 */
export function status(run, estimate) {
  if (run?.state === "running") {
    if (!run.done) return say("starting");
    return say("running", { done: run.done, total: run.total, left: duration(secondsLeft(run)) });
  }
  if (run?.state === "silent") return say("silent", { done: run.done, total: run.total });
  if (run?.state === "failed") return say("failed", { done: run.done, total: run.total });
  return expected(estimate);
}

/**
 * @param {Run} run
 * @returns {number}
 */
function secondsLeft(run) {
  return (run.elapsed / run.done) * (run.total - run.done);
}

/**
 * @param {Estimate | null} estimate
 * @returns {string}
 */
function expected(estimate) {
  if (!estimate) return say("noRun");
  if (!estimate.measured) return say("noRunOfThese");
  const { seconds_per_step: seconds, memory } = estimate.measured;
  if (estimate.steps === null) return say("unknownSteps", { time: duration(seconds), memory: size(memory) });
  return say("estimate", { time: duration(seconds * estimate.steps), memory: size(memory) });
}

/**
 * What a step takes, as far as it is known: seconds, and calls of each network. After a run that ended early, what the
 * next one will take.
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string}
 */
export function details(run, estimate) {
  if (run?.state === "failed" && estimate?.measured) return expected(estimate);
  const seconds = run?.done ? run.elapsed / run.done : estimate?.measured?.seconds_per_step;
  const calls = run && Object.keys(run.calls).length ? run.calls : (estimate?.measured?.calls ?? {});
  const counts = Object.entries(calls).map(([name, count]) => `${name} ×${Number(count.toFixed(1))}`);
  return seconds ? say("each", { what: [duration(seconds), ...counts].join(", ") }) : "";
}

/**
 * More than fits the lines.
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string}
 */
export function hint(run, estimate) {
  const lines = [];
  const over = !run || !underWay(run);
  if (run && over) lines.push(say("took", { steps: run.done, time: duration(run.elapsed) }));
  const seconds = run?.done ? run.elapsed / run.done : estimate?.measured?.seconds_per_step;
  const { memory, calls } = run ?? estimate?.measured ?? { memory: 0, calls: {} };
  if (seconds) lines.push(say("perStep", { time: duration(seconds) }));
  if (memory) lines.push(say("memory", { memory: size(memory) }));
  const counts = Object.entries(calls).map(([name, count]) => `${name} ${Number(count.toFixed(1))}`);
  if (counts.length) lines.push(say("calls", { calls: counts.join(", ") }));
  if (estimate?.measured && over) lines.push(measuredAt(estimate.measured));
  if (!estimate?.measured && over) lines.push(say("noRunHelp"));
  return lines.join("\n");
}

/**
 * @param {import("./estimate.js").Figures} figures
 * @returns {string}
 */
function measuredAt({ pictures, size: [width, height] }) {
  return say("measuredAt", { pictures, width, height });
}
