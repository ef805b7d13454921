/**
 * How long the next run of each sampler will take, and how much memory. The server knows it from earlier runs with the
 * same models and losses (nodes/estimate.py).
 *
 * @typedef {object} Figures
 * @property {number} secondsPerStep
 * @property {number} memory bytes of weights and run
 * @property {Map<string, number>} calls network calls per step
 * @property {number} pictures in the batch
 * @property {number} width
 * @property {number} height
 *
 * @typedef {{ steps: number | null, measured: Figures | null }} Estimate null: unknown
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { RUNNERS } from "../shared/node_types.js";
import { showsRuns } from "../shared/settings.js";
import { allNodes, executionIds } from "./graph.js";
import { runWidgetOf } from "./registry.js";
import { readEstimate } from "./schema.js";

const ROUTE = "/diffuseit/estimate";
const QUIET_MS = 600;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Refreshes the estimates from now on, whenever the graph has changed. */
export function watchEstimates() {
  api.addEventListener("graphChanged", refreshEstimates);
  refreshEstimates();
}

/** Refreshes the estimates once the graph has not changed for a moment. */
export function refreshEstimates() {
  clearTimeout(timer);
  timer = setTimeout(() => void refresh(), QUIET_MS);
}

/** @returns {Promise<void>} */
async function refresh() {
  const samplers = allNodes().filter((node) => RUNNERS.has(node.comfyClass));
  if (!samplers.length || !showsRuns()) return;
  const { output: prompt } = await app.graphToPrompt();
  await Promise.all(
    samplers.map(async (node) => {
      const [id] = executionIds(node);
      runWidgetOf(node)?.showEstimate(prompt[id] ? await fetchEstimate(prompt, id) : null);
    }),
  );
}

/**
 * @param {Prompt} prompt
 * @param {string} node the execution id of a sampler in it
 * @returns {Promise<Estimate | null>} null if the server does not answer
 */
async function fetchEstimate(prompt, node) {
  const body = JSON.stringify({ prompt: ownNodes(prompt), node });
  const headers = { "Content-Type": "application/json" };
  try {
    const response = await api.fetchApi(ROUTE, { method: "POST", headers, body });
    return response.ok ? readEstimate(await response.json()) : null;
  } catch {
    return null;
  }
}

/**
 * @param {Prompt} prompt
 * @returns {Prompt} the nodes of this pack; the estimate depends on no others
 */
function ownNodes(prompt) {
  const own = Object.entries(prompt).filter(([, node]) => node.class_type?.startsWith("DiffuseIT"));
  return Object.fromEntries(own);
}
