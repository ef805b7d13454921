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

/** the inputs for which nodes of others matter too (nodes/estimate.py) */
const FOREIGN = ["model", "vae"];

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
  const body = JSON.stringify({ prompt: nodesThatMatter(prompt), node });
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
 * @returns {Prompt} the nodes of this pack, and the loaders of the models that they guide
 */
function nodesThatMatter(prompt) {
  /** @type {Prompt} */
  const found = {};
  const waiting = Object.keys(prompt).filter((id) => prompt[id]?.class_type?.startsWith("DiffuseIT"));
  for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
    const node = prompt[id];
    if (!node || id in found) continue;
    found[id] = node;
    for (const input of FOREIGN) {
      const link = node.inputs?.[input];
      if (Array.isArray(link)) waiting.push(String(link[0]));
    }
  }
  return found;
}
