/** What the lines above the curves say of time, memory and size. */

import { formatBytes, formatDuration } from "../shared/format.js";
import { translator } from "../shared/words.js";
import { computedTerms, isActive } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Size} Size */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const NO_BREAK_SPACE = "\u00a0";
const t = translator("run");

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate of the next run
 * @returns {string} the first line: how far the run is, or what the next one will take; and the size of the result
 */
export function statusText(run, estimate) {
  const size = (run && isActive(run) ? run.size : (estimate?.size ?? run?.size)) ?? null;
  return [progressText(run, estimate), ...(size ? [sizeText(size)] : [])].join(" · ");
}

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string}
 */
function progressText(run, estimate) {
  if (!run || run.state === "done") return estimateText(estimate);
  const { done, total } = run;
  if (run.state === "failed" && !total) return t("failedAtOnce");
  if (run.state !== "running") return t(run.state, { done, total });
  if (!done) return t("starting");
  const secondsLeft = (run.elapsed / done) * (total - done);
  return t("running", { done, total, left: formatDuration(secondsLeft) });
}

/**
 * @param {Size} size
 * @returns {string}
 */
function sizeText({ width, height }) {
  return [width, "×", height].join(NO_BREAK_SPACE);
}

/**
 * @param {Estimate | null} estimate
 * @returns {string}
 */
function estimateText(estimate) {
  if (!estimate) return t("noRun");
  if (!estimate.measured) return t("noRunWithThese");
  const { secondsPerStep, memory } = estimate.measured;
  if (estimate.steps === null) {
    return t("unknownSteps", { time: formatDuration(secondsPerStep), memory: formatBytes(memory) });
  }
  const time = formatDuration(secondsPerStep * estimate.steps);
  return t("estimate", { time, memory: formatBytes(memory) });
}

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string} the second line: what is to be known of the last run; after one that ended early, the estimate.
 * Empty if unknown.
 */
export function detailsText(run, estimate) {
  const hasCurves = run !== null && computedTerms(run).length > 0;
  if (run?.isCached) return t(hasCurves ? "cached" : "cachedOnly");
  if (run?.isLate) return t("late");
  const hasEndedEarly = run?.state === "failed" || run?.state === "stopped";
  if (hasEndedEarly && estimate?.measured) return estimateText(estimate);
  const seconds = secondsOfStep(run, estimate);
  if (!seconds) return "";
  const calls = run?.calls.size ? run.calls : estimate?.measured?.calls;
  const what = [formatDuration(seconds), ...formatCalls(calls, " ×")]
    .map((part) => part.replaceAll(" ", NO_BREAK_SPACE))
    .join(", ");
  const isLast = run !== null && !isActive(run);
  return t(isLast ? "eachOfLast" : "each", { what });
}

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {string} the tooltip: all that is known
 */
export function tooltipText(run, estimate) {
  const lines = [];
  const isIdle = !run || !isActive(run);
  const measured = estimate?.measured;
  const size = estimate?.size ?? run?.size;
  if (size) lines.push(t("size", { ...size }));
  if (run?.done && isIdle) lines.push(t("took", { steps: run.done, time: formatDuration(run.elapsed) }));
  const seconds = secondsOfStep(run, estimate);
  if (seconds) lines.push(t("perStep", { time: formatDuration(seconds) }));
  const { memory, calls } = run?.done ? run : (measured ?? {});
  if (memory) lines.push(t("memory", { memory: formatBytes(memory) }));
  if (calls?.size) lines.push(t("calls", { calls: formatCalls(calls, " ").join(", ") }));
  if (run && run.batch > 1) lines.push(t("means", { pictures: run.batch }));
  if (isIdle && measured) {
    const { pictures, width, height } = measured;
    lines.push(t("measuredAt", { pictures, width, height }));
  } else if (isIdle) {
    lines.push(t("noRunHelp"));
  }
  return lines.join("\n");
}

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @returns {number | undefined}
 */
function secondsOfStep(run, estimate) {
  return run?.done ? run.elapsed / run.done : estimate?.measured?.secondsPerStep;
}

/**
 * @param {Map<string, number> | undefined} calls
 * @param {string} separator
 * @returns {string[]}
 */
function formatCalls(calls, separator) {
  return [...(calls ?? [])].map(([name, count]) => `${name}${separator}${Number(count.toFixed(1))}`);
}
