// @ts-check
/**
 * What the next run of a sampler will take. The server knows it (nodes/estimate.py), by what runs with the same models
 * and losses took on its machine.
 *
 * @typedef {object} Figures
 * @property {number} seconds_per_step
 * @property {number} memory bytes of weights and run
 * @property {Record<string, number>} calls network calls per step
 * @property {number} pictures
 * @property {[number, number]} size width and height of each
 *
 * @typedef {{ steps: number | null, measured: Figures | null }} Estimate null: not known
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

const ROUTE = "/diffuseit/estimate";

/**
 * The estimates of several samplers in the open graph.
 * @param {string[]} nodes their execution ids
 * @returns {Promise<Map<string, Estimate>>} without those that will not run, and empty where the server is silent
 */
export async function estimates(nodes) {
  const { output: prompt } = await app.graphToPrompt();
  const asked = nodes.filter((node) => prompt[node]).map(async (node) => [node, await ask(prompt, node)]);
  const told = /** @type {[string, Estimate | null][]} */ (await Promise.all(asked));
  return new Map(/** @type {[string, Estimate][]} */ (told.filter(([, estimate]) => estimate)));
}

/**
 * @param {Record<string, unknown>} prompt
 * @param {string} node
 * @returns {Promise<Estimate | null>}
 */
async function ask(prompt, node) {
  const body = JSON.stringify({ prompt: ours(prompt), node });
  const headers = { "Content-Type": "application/json" };
  try {
    const response = await api.fetchApi(ROUTE, { method: "POST", headers, body });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // the server is away; the front end says so elsewhere
  }
}

/**
 * The nodes of this pack: what the others hold is not the estimate's business.
 * @param {Record<string, any>} prompt
 * @returns {Record<string, unknown>}
 */
function ours(prompt) {
  return Object.fromEntries(
    Object.entries(prompt).filter(([, node]) => node.class_type?.startsWith("DiffuseIT")),
  );
}
