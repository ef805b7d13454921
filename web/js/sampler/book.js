// @ts-check
/**
 * Which run is shown on which node. Runs live here while the page does, so that another workflow may be opened in
 * between; what a workflow file keeps of them is in the properties of the nodes.
 */

import { allNodes, idsOf, nodeAt, openWorkflow } from "./places.js";
import { Bar } from "./bar.js";
import { Panel } from "./panel.js";
import { fate } from "./lost.js";
import { advance, begun, packed, underWay, unpacked } from "./run.js";
import { packedParts, sharesOf, unpackedParts } from "./shares.js";

/** @typedef {import("./places.js").GraphNode} GraphNode */
/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Place} Place */
/** @typedef {import("./run.js").RunEvent} RunEvent */

export const SAMPLER = "DiffuseITSampler";
const PROPERTY = "diffuseit_run";
const SHARE_PROPERTY = "diffuseit_share";
const REMEMBERED = 24;

/** @type {Map<string, Run>} runs by workflow and execution id, the latest last */
const runs = new Map();

/** @type {WeakMap<GraphNode, Panel>} */
const panels = new WeakMap();

/** @type {WeakMap<GraphNode, Bar>} */
const bars = new WeakMap();

/** @type {WeakMap<GraphNode, string>} whose run a loss node shows its share of */
const tellers = new WeakMap();

/**
 * @param {string} workflow
 * @param {string} node its execution id
 * @returns {string}
 */
function keyOf(workflow, node) {
  return `${workflow || openWorkflow()}/${node}`;
}

/**
 * Gives a new sampler node its panel.
 * @param {GraphNode} node
 */
export function addPanel(node) {
  const panel = new Panel(node);
  panels.set(node, panel);
  follow(node, () => restore(node), panel);
}

/**
 * Gives a new loss node its bar.
 * @param {GraphNode} node
 */
export function addBar(node) {
  const bar = new Bar(node);
  bars.set(node, bar);
  follow(node, () => bar.show(unpackedParts(node.properties?.[SHARE_PROPERTY])), bar);
}

/**
 * Ties a widget to the life of its own node.
 * @param {GraphNode} node
 * @param {() => void} configured
 * @param {{ remove: () => void }} widget
 */
function follow(node, configured, widget) {
  const { onConfigure, onRemoved } = node;
  node.onConfigure = function (/** @type {unknown[]} */ ...args) {
    onConfigure?.apply(this, args);
    configured();
  };
  node.onRemoved = function (/** @type {unknown[]} */ ...args) {
    onRemoved?.apply(this, args);
    widget.remove();
  };
}

/**
 * @param {GraphNode} node
 * @returns {Panel | undefined}
 */
export function panelOf(node) {
  return panels.get(node);
}

/**
 * Shows the run that belongs to a node: that of this session, or the one in the file.
 * @param {GraphNode} node
 */
export function restore(node) {
  const known = idsOf(node).map((id) => runs.get(keyOf("", id)));
  const run = known.find(Boolean) ?? unpacked(node.properties?.[PROPERTY]);
  panels.get(node)?.show(run);
}

/** For when a graph is complete: a subgraph's nodes come before it is known where it is. */
export function restoreAll() {
  for (const node of allNodes()) {
    if (panels.has(node)) restore(node);
  }
}

/**
 * Takes an event of the server in.
 * @param {RunEvent} event
 * @returns {Run | null} the run as it is now; null for one whose beginning was missed
 */
export function take(event) {
  const key = keyOf(event.workflow, event.node);
  const run = event.kind === "begin" ? begun(event) : runs.get(key);
  if (!run || run.id !== event.run) return null;
  remember(key, run);
  if (event.kind !== "begin") advance(run, event);
  showAt(event, run, event.kind === "begin" || event.kind === "end" || "pulls" in event);
  return run;
}

/**
 * Shows a run on its nodes if their workflow is the open one; they keep it when it is over.
 * @param {Place} place
 * @param {Run} run
 * @param {boolean} shares whether those may be others than before
 */
function showAt(place, run, shares) {
  const node = shownAt(place);
  if (!node) return;
  panels.get(node)?.show(run);
  if (!underWay(run)) node.properties[PROPERTY] = packed(run);
  if (shares) showShares(keyOf(place.workflow, place.node), run);
}

/** For when the server is away: nobody knows what becomes of the runs that it had under way. */
export function loseSight() {
  for (const run of runs.values()) {
    if (run.state === "running") turn(run, "silent");
  }
}

/** For when the server is back: asks it for the runs that it had under way, whose end may have been missed. */
export async function findAgain() {
  const lost = [...runs.values()].filter((run) => run.state === "silent");
  await Promise.all(
    lost.map(async (run) => {
      const state = run.place ? await fate(run.place.prompt) : null;
      if (state && run.state === "silent") turn(run, state); // or its events have come in the meantime
    }),
  );
}

/**
 * For when the server has told the end of a prompt: a run of it that is still under way here has lost its own.
 * @param {string} prompt
 * @param {boolean} ok
 */
export function settle(prompt, ok) {
  for (const run of runs.values()) {
    if (run.place?.prompt === prompt && underWay(run)) turn(run, ok ? "done" : "failed");
  }
}

/**
 * @param {Run} run
 * @param {import("./run.js").RunState} state
 */
function turn(run, state) {
  run.state = state;
  if (run.place) showAt(run.place, run, true);
}

/**
 * Brings the shares of a run to its loss nodes, and takes them from those that are no longer in its chain.
 * @param {string} key
 * @param {Run} run
 */
function showShares(key, run) {
  const shares = new Map([...sharesOf(run)].map(([id, parts]) => [nodeAt(id), parts]));
  const chain = new Set(run.chain.map(({ node }) => nodeAt(node)));
  for (const node of allNodes()) {
    const bar = bars.get(node);
    const parts = shares.get(node);
    if (bar && parts) {
      tellers.set(node, key);
      bar.show(parts);
      if (!underWay(run)) node.properties[SHARE_PROPERTY] = packedParts(parts);
    } else if (bar && tellers.get(node) === key && !chain.has(node)) {
      bar.show(null);
      delete node.properties[SHARE_PROPERTY];
    }
  }
}

/**
 * The sampler of a run, if its workflow is the open one.
 * @param {Place} place
 * @returns {GraphNode | null}
 */
function shownAt(place) {
  if (place.workflow && place.workflow !== openWorkflow()) return null;
  const node = nodeAt(place.node);
  return node && panels.has(node) ? node : null;
}

/**
 * @param {string} key
 * @param {Run} run
 */
function remember(key, run) {
  runs.delete(key);
  runs.set(key, run);
  for (const old of [...runs.keys()].slice(0, Math.max(0, runs.size - REMEMBERED))) runs.delete(old);
}
