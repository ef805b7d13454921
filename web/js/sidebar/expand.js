/** Puts the losses that DiffuseIT Translate stands for in its place, as one step to undo. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { executionIds, findNode } from "../node/graph.js";
import { messageOf } from "../shared/catalog.js";
import { TRANSLATE } from "../shared/node_types.js";
import { translator } from "../shared/words.js";
import { insertGraph } from "./insert_graph.js";

/** @typedef {import("./starter_graphs.js").NodePlan} NodePlan */

/**
 * What replaces the node (nodes/expand.py).
 * @typedef {object} Expansion
 * @property {Prompt} nodes
 * @property {string[][]} columns
 * @property {[string, number]} output the node, and the number of its output, with the image
 */

const WIDTH = 300;
const CONTROL = "control_after_generate";
const t = translator("sidebar");

/**
 * @param {LGraphNode} node
 * @returns {MenuItem[]} for its menu
 */
export function menuItems(node) {
  if (node.comfyClass !== TRANSLATE) return [];
  return [{ content: t("expand"), callback: () => void expand(node) }];
}

/** @param {LGraphNode} node */
async function expand(node) {
  try {
    const expansion = await askServer(node);
    const missing = await replace(node, expansion);
    if (missing.length) throw new Error(t("start.missingNodes", { types: missing.join(", ") }));
  } catch (reason) {
    const detail = t("expand.failed", { error: messageOf(reason) });
    app.extensionManager.toast.add({ severity: "error", summary: "DiffuseIT", detail });
  }
}

/**
 * @param {LGraphNode} node
 * @returns {Promise<Expansion>}
 */
async function askServer(node) {
  const { output: prompt } = await app.graphToPrompt();
  const [id] = executionIds(node);
  const body = JSON.stringify({ prompt, node: id });
  const headers = { "Content-Type": "application/json" };
  const response = await api.fetchApi("/diffuseit/expand", { method: "POST", headers, body });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/**
 * @param {LGraphNode} node
 * @param {Expansion} expansion
 * @returns {Promise<string[]>} the node types that this ComfyUI lacks
 */
async function replace(node, { nodes, columns, output }) {
  const known = origins(node, nodes);
  const control = node.widgets?.find(({ name }) => name === CONTROL)?.value;
  const plans = columns.map((ids) => ids.map((id) => planOf(id, nodes[id], control)));
  return insertGraph({ columns: plans, name: "", models: [] }, t("expand.title"), null, {
    known,
    onConnected(all) {
      const end = all.get(output[0]);
      if (end) moveOutput(node, end, output[1]);
    },
  });
}

/**
 * @param {LGraphNode} node
 * @param {Prompt} nodes the new ones
 * @returns {Map<string, LGraphNode>} the nodes of its graph that the new ones link to, by execution id
 */
function origins(node, nodes) {
  const values = Object.values(nodes).flatMap(({ inputs }) => Object.values(inputs));
  const linked = values.filter(Array.isArray).map(([id]) => String(id));
  const found = new Map();
  for (const id of linked.filter((one) => !(one in nodes))) {
    const origin = findNode(id);
    if (origin?.graph !== node.graph) throw new Error(t("expand.subgraph"));
    found.set(id, origin);
  }
  return found;
}

/**
 * @param {string} id
 * @param {Prompt[string]} node
 * @param {unknown} control what becomes of a seed after a run
 * @returns {NodePlan}
 */
function planOf(id, { class_type, inputs }, control) {
  /** @type {NodePlan} */
  const plan = { id, type: class_type ?? "", width: WIDTH };
  for (const [name, value] of Object.entries(inputs)) {
    if (Array.isArray(value)) plan.inputs = { ...plan.inputs, [name]: [String(value[0]), Number(value[1])] };
    else plan.widgets = { ...plan.widgets, [name]: /** @type {string | number | boolean} */ (value) };
  }
  if (typeof inputs.seed === "number" && typeof control === "string") {
    plan.widgets = { ...plan.widgets, [CONTROL]: control };
  }
  return plan;
}

/**
 * Lets another node feed what `node` feeds, and removes `node`, unless something outside its graph needs it.
 * @param {LGraphNode} node
 * @param {LGraphNode} other
 * @param {number} slot the output of the other node
 */
function moveOutput(node, other, slot) {
  const { graph } = node;
  if (!graph) return;
  const links = (node.outputs?.[0].links ?? []).flatMap((id) => graph.links.get(id) ?? []);
  const targets = links.map((link) => ({ link, target: graph.getNodeById(link.target_id) }));
  for (const { link, target } of targets) {
    if (target) other.connect(slot, target, link.target_slot);
  }
  if (targets.every(({ target }) => target)) graph.remove(node);
}
