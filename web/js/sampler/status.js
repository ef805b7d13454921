// @ts-check
/** The line of words above the curves. */

import { duration, say, size } from "./words.js"

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./estimate.js").Estimate} Estimate */

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate of the next run
 * @returns {string}
 */
export function status(run, estimate) {
  if (run?.state === "running") {
    if (!run.done) return say("starting")
    return say("running", { done: run.done, total: run.total, left: duration(secondsLeft(run)) })
  }
  return expected(estimate)
}

/**
 * @param {Run} run
 * @returns {number}
 */
function secondsLeft(run) {
  return (run.elapsed / run.done) * (run.total - run.done)
}

/**
 * @param {Estimate | null} estimate
 * @returns {string}
 */
function expected(estimate) {
  if (!estimate) return say("noRun")
  if (!estimate.measured) return say("noRunOfThese")
  const { secondsPerStep, memory } = estimate.measured
  if (estimate.steps === null) {
    return say("unknownSteps", { time: duration(secondsPerStep), memory: size(memory) })
  }
  return say("estimate", { time: duration(secondsPerStep * estimate.steps), memory: size(memory) })
}

/**
 * More than fits the line.
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string}
 */
export function hint(run, estimate) {
  const lines = []
  if (run && run.state !== "running") {
    lines.push(say("took", { steps: run.done, time: duration(run.elapsed) }))
    if (run.state === "failed") lines.push(say("failed"))
  }
  const figures = run ? figuresOf(run) : estimate?.measured
  if (figures) {
    lines.push(say("perStep", { time: duration(figures.secondsPerStep) }))
    lines.push(say("memory", { memory: size(figures.memory) }))
    const calls = Object.entries(figures.calls).map(([name, count]) => `${name} ${Number(count.toFixed(1))}`)
    if (calls.length) lines.push(say("calls", { calls: calls.join(", ") }))
  }
  if (estimate?.measured) lines.push(say("measuredAt"))
  return lines.join("\n")
}

/**
 * @param {Run} run
 * @returns {import("./estimate.js").Figures}
 */
function figuresOf(run) {
  return { secondsPerStep: run.elapsed / Math.max(1, run.done), memory: run.memory, calls: run.calls }
}
