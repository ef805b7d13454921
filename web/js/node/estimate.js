/**
 * What is known of the next run of each sampler. The server tells it from the prompt (nodes/before_run.py), and from
 * earlier runs with the same models and losses (nodes/estimate.py).
 *
 * @typedef {object} Figures
 * @property {number} secondsPerStep
 * @property {number} memory bytes of weights and run
 * @property {Map<string, number>} calls network calls per step
 * @property {number} pictures in the batch
 * @property {number} width
 * @property {number} height
 *
 * @typedef {string | number | boolean | null} Value null: a link decides it
 *
 * @typedef {object} Estimate null: unknown
 * @property {number | null} steps
 * @property {Figures | null} measured
 * @property {import("./run.js").Size | null} size of the result
 * @property {Map<string, Value>} settings what connected options put in the place of the node's own values
 * @property {string | null} preset that the settings come from
 * @property {import("./notes.js").Note[]} notes
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { catalog } from "../shared/catalog.js";
import { showsRun } from "../shared/node_types.js";
import { relevantPart } from "../shared/prompt.js";
import { showsRuns } from "../shared/settings.js";
import { allNodes, executionIds, graphSignature } from "./graph.js";
import { greyOut } from "./overridden.js";
import { runWidgetOf } from "./registry.js";
import { readEstimate } from "./schema.js";

const ROUTE = "/diffuseit/estimate";
const QUIET_MS = 250;
/** after which a widget may have another value; ComfyUI's own event does not follow all of them */
const ACTIONS = ["pointerup", "click", "keyup", "change", "wheel", "drop"];

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let signature = "";

/** Refreshes the estimates from now on, whenever the graph has changed. */
export function watchEstimates() {
  api.addEventListener("graphChanged", refreshIfChanged);
  for (const action of ACTIONS) {
    document.addEventListener(action, refreshIfChanged, { capture: true, passive: true });
  }
  catalog.addEventListener("list", refreshEstimates);
  refreshEstimates();
}

/** Refreshes the estimates once the graph has not changed for a moment. */
export function refreshEstimates() {
  signature = "";
  refreshIfChanged();
}

function refreshIfChanged() {
  clearTimeout(timer);
  timer = setTimeout(() => void refresh(), QUIET_MS);
}

/** @returns {Promise<void>} */
async function refresh() {
  const nodes = allNodes().filter(showsRun);
  if (!nodes.length || !showsRuns()) return;
  const now = graphSignature();
  if (now === signature) return;
  signature = now;
  const { output: prompt } = await app.graphToPrompt();
  await Promise.all(
    nodes.map(async (node) => {
      const [id] = executionIds(node);
      const estimate = prompt[id] ? await fetchEstimate(prompt, id) : null;
      greyOut(node, new Set(estimate?.settings.keys()));
      runWidgetOf(node)?.showEstimate(estimate);
    }),
  );
}

/**
 * @param {Prompt} prompt
 * @param {string} node the execution id of a sampler in it
 * @returns {Promise<Estimate | null>} null if the server does not answer
 */
async function fetchEstimate(prompt, node) {
  const body = JSON.stringify({ prompt: relevantPart(prompt, node), node });
  const headers = { "Content-Type": "application/json" };
  try {
    const response = await api.fetchApi(ROUTE, { method: "POST", headers, body });
    return response.ok ? readEstimate(await response.json()) : null;
  } catch {
    return null;
  }
}
