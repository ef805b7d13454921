// @ts-check
/**
 * Which run is shown on which node. Runs live here while the page does, so that another workflow may be opened in
 * between; what a workflow file keeps of them is in the properties of the nodes.
 */

import { allNodes, idsOf, nodeAt, openWorkflow } from "./places.js"
import { Panel } from "./panel.js"
import { advance, begun, packed, unpacked } from "./run.js"

/** @typedef {import("./places.js").GraphNode} GraphNode */
/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").RunEvent} RunEvent */

export const SAMPLER = "DiffuseITSampler"
const PROPERTY = "diffuseit_run"
const REMEMBERED = 24

/** @type {Map<string, Run>} runs by workflow and execution id, the latest last */
const runs = new Map()

/** @type {WeakMap<GraphNode, Panel>} */
const panels = new WeakMap()

/**
 * @param {string} workflow
 * @param {string} node its execution id
 * @returns {string}
 */
function keyOf(workflow, node) {
  return `${workflow || openWorkflow()}/${node}`
}

/**
 * Gives a new sampler node its panel.
 * @param {GraphNode} node
 */
export function addPanel(node) {
  const panel = new Panel(node)
  panels.set(node, panel)
  const { onConfigure, onRemoved } = node
  node.onConfigure = function (/** @type {unknown[]} */ ...args) {
    onConfigure?.apply(this, args)
    restore(node)
  }
  node.onRemoved = function (/** @type {unknown[]} */ ...args) {
    onRemoved?.apply(this, args)
    panel.remove()
  }
}

/**
 * Shows the run that belongs to a node: that of this session, or the one in the file.
 * @param {GraphNode} node
 */
export function restore(node) {
  const known = idsOf(node).map((id) => runs.get(keyOf("", id)))
  const run = known.find(Boolean) ?? unpacked(node.properties?.[PROPERTY])
  panels.get(node)?.show(run)
}

/** For when a graph is complete: a subgraph's nodes come before it is known where it is. */
export function restoreAll() {
  for (const node of allNodes()) {
    if (panels.has(node)) restore(node)
  }
}

/**
 * Takes an event of the server in.
 * @param {RunEvent} event
 * @returns {Run | null} the run as it is now; null for one whose beginning was missed
 */
export function take(event) {
  const key = keyOf(event.workflow, event.node)
  const run = event.kind === "begin" ? begun(event) : runs.get(key)
  if (!run || run.id !== event.run) return null
  remember(key, run)
  if (event.kind !== "begin") advance(run, event)
  const node = shownAt(event)
  if (node) {
    panels.get(node)?.show(run)
    if (event.kind === "end") node.properties[PROPERTY] = packed(run)
  }
  return run
}

/**
 * The node of an event, if its workflow is the open one.
 * @param {RunEvent} event
 * @returns {GraphNode | null}
 */
function shownAt(event) {
  if (event.workflow && event.workflow !== openWorkflow()) return null
  const node = nodeAt(event.node)
  return node && panels.has(node) ? node : null
}

/**
 * @param {string} key
 * @param {Run} run
 */
function remember(key, run) {
  runs.delete(key)
  runs.set(key, run)
  for (const old of [...runs.keys()].slice(0, Math.max(0, runs.size - REMEMBERED))) runs.delete(old)
}
