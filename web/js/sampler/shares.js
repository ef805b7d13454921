// @ts-check
/** What each loss has in the gradient, beside the others of its run. */

import { termsOf } from "./colours.js";
import { pairs } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {{ loss: string, share: number }} Part one loss of a node, by the name of its class; share is 0 to 1 */

/**
 * The parts of each node of the chain, by its execution id; empty before anything was measured.
 * @param {Run} run
 * @returns {Map<string, Part[]>}
 */
export function sharesOf(run) {
  const total = run.pulls.reduce((sum, pull) => sum + (pull ?? 0), 0);
  /** @type {Map<string, Part[]>} */
  const found = new Map();
  if (!(total > 0)) return found;
  for (const [number, { node, loss }] of run.chain.entries()) {
    const part = { loss, share: (run.pulls[number] ?? 0) / total };
    found.set(node, [...(found.get(node) ?? []), part]);
  }
  return found;
}

/**
 * The parts as plain data for a workflow file.
 * @param {Part[]} parts
 * @returns {[string, number][]}
 */
export function packedParts(parts) {
  return parts.map(({ loss, share }) => [loss, Number(share.toFixed(3))]);
}

/**
 * What `packedParts` made; null for anything else.
 * @param {any} data
 * @returns {Part[] | null}
 */
export function unpackedParts(data) {
  const parts = pairs(data).map(([loss, share]) => ({ loss: String(loss), share: Number(share) }));
  if (!parts.length) return null;
  return parts.every(({ share }) => share >= 0 && share <= 1) ? parts : null;
}

/**
 * @param {Part} part
 * @returns {string} the term that gives a loss its colour
 */
export function mainTerm(part) {
  return termsOf(part.loss)[0];
}
