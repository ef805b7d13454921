/**
 * Which run is shown on which node.
 *
 * Runs are kept here for as long as the page lives, so that another workflow can be opened in between. What a workflow
 * file keeps of a run is in the properties of the nodes.
 */

import { allNodes, executionIds, findNode, openWorkflow } from "./graph.js";
import { LossBar } from "./loss_bar.js";
import { isActive, lossShares, startRun, updateRun } from "./run.js";
import { RunWidget } from "./run_widget.js";
import { readSavedRun, readSavedShares, savedRun, savedShares } from "./schema.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").RunEvent} RunEvent */
/** @typedef {import("./run.js").RunState} RunState */

const RUN_PROPERTY = "diffuseit_run";
const SHARES_PROPERTY = "diffuseit_share";
const MAX_RUNS = 24;

/** @type {Map<string, Run>} by `keyOf`, the latest last */
const runs = new Map();

/** @type {WeakMap<LGraphNode, RunWidget>} */
const widgets = new WeakMap();

/** @type {WeakMap<LGraphNode, LossBar>} */
const bars = new WeakMap();

/** @type {WeakMap<LGraphNode, string>} the key of the run whose shares a loss node shows */
const shownRuns = new WeakMap();

/**
 * @param {string} workflow
 * @param {string} node the execution id of a sampler
 * @returns {string}
 */
function keyOf(workflow, node) {
  return `${workflow || openWorkflow()}/${node}`;
}

/** @param {LGraphNode} node a new sampler */
export function addRunWidget(node) {
  const widget = new RunWidget(node);
  widgets.set(node, widget);
  bind(node, widget, () => restore(node, widget));
}

/** @param {LGraphNode} node a new loss */
export function addLossBar(node) {
  const bar = new LossBar(node);
  bars.set(node, bar);
  bind(node, bar, () => bar.show(readSavedShares(node.properties[SHARES_PROPERTY])));
}

/**
 * Calls `onConfigure` when the node gets its properties from a file, and removes the widget with the node.
 * @param {LGraphNode} node
 * @param {{ remove: () => void }} widget
 * @param {() => void} onConfigure
 */
function bind(node, widget, onConfigure) {
  const before = { onConfigure: node.onConfigure, onRemoved: node.onRemoved };
  node.onConfigure = function (...args) {
    before.onConfigure?.apply(this, args);
    onConfigure();
  };
  node.onRemoved = function (...args) {
    before.onRemoved?.apply(this, args);
    widget.remove();
  };
}

/**
 * @param {LGraphNode} node
 * @returns {RunWidget | undefined}
 */
export function runWidgetOf(node) {
  return widgets.get(node);
}

/**
 * Shows the run of this session, else the one from the file.
 * @param {LGraphNode} node
 * @param {RunWidget} widget
 */
function restore(node, widget) {
  const known = executionIds(node).map((id) => runs.get(keyOf("", id)));
  widget.show(known.find(Boolean) ?? readSavedRun(node.properties[RUN_PROPERTY]));
}

/** Restores all runs once the graph is complete: a subgraph's nodes come before the path to them is known. */
export function restoreRuns() {
  for (const node of allNodes()) {
    const widget = widgets.get(node);
    if (widget) restore(node, widget);
  }
}

/** @param {RunEvent} event of a run; ignored if the beginning of the run was missed */
export function handleEvent(event) {
  const key = keyOf(event.place.workflow, event.place.node);
  const run = event.kind === "begin" ? startRun(event) : runs.get(key);
  if (!run || run.id !== event.place.run) return;
  remember(key, run);
  if (event.kind !== "begin") updateRun(run, event);
  const sharesChanged = event.kind !== "steps" || event.gradients.length > 0;
  show(run, sharesChanged);
}

/** @returns {Run[]} those that the server has not ended */
export function activeRuns() {
  return [...runs.values()].filter(isActive);
}

/**
 * @param {Run} run
 * @param {RunState} state
 */
export function setState(run, state) {
  run.state = state;
  show(run, true);
}

/**
 * Shows a run on its nodes if its workflow is the open one. The nodes keep a run that has ended.
 * @param {Run} run
 * @param {boolean} sharesChanged
 */
function show(run, sharesChanged) {
  if (!run.place) return;
  const { workflow, node: id } = run.place;
  if (workflow && workflow !== openWorkflow()) return;
  const node = findNode(id);
  const widget = node && widgets.get(node);
  if (!widget) return;
  widget.show(run);
  if (!isActive(run)) node.properties[RUN_PROPERTY] = savedRun(run);
  if (sharesChanged) showShares(keyOf(workflow, id), run);
}

/**
 * Shows the shares of a run on its loss nodes, and clears the nodes whose losses the run no longer has.
 * @param {string} key
 * @param {Run} run
 */
function showShares(key, run) {
  const shares = new Map([...lossShares(run)].map(([id, parts]) => [findNode(id), parts]));
  const lossNodes = new Set(run.losses.map(({ node }) => findNode(node)));
  for (const node of allNodes()) {
    const bar = bars.get(node);
    const parts = shares.get(node);
    if (bar && parts) {
      shownRuns.set(node, key);
      bar.show(parts);
      if (!isActive(run)) node.properties[SHARES_PROPERTY] = savedShares(parts);
    } else if (bar && shownRuns.get(node) === key && !lossNodes.has(node)) {
      bar.show(null);
      delete node.properties[SHARES_PROPERTY];
    }
  }
}

/**
 * Moves a run to the end of the list, and drops the oldest of too many.
 * @param {string} key
 * @param {Run} run
 */
function remember(key, run) {
  runs.delete(key);
  runs.set(key, run);
  const excess = Math.max(0, runs.size - MAX_RUNS);
  for (const old of [...runs.keys()].slice(0, excess)) runs.delete(old);
}
