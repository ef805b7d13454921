/**
 * Which run is shown on which node.
 *
 * Runs are kept here for as long as the page lives, so that another workflow can be opened in between, and nodes can be
 * built anew. What a workflow file keeps of a run is in the properties of the nodes.
 */

import { app } from "../../../../scripts/app.js";
import { fingerprint, upstream } from "../shared/prompt.js";
import { RUNNERS } from "../shared/node_types.js";
import { allNodes, executionIds, findNode, openWorkflow } from "./graph.js";
import { LossBar } from "./loss_bar.js";
import { bareRun, isActive, lossShares, startRun, updateRun } from "./run.js";
import { RunWidget } from "./run_widget.js";
import { readSavedRun, readSavedShares, savedRun, savedShares } from "./schema.js";
import { fetchEvents, fetchPrompt } from "./server.js";
import { addPrompt, knowsPrompt, openTab, promptOf, promptsKnown, tabOf } from "./tabs.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").RunEvent} RunEvent */
/** @typedef {import("./run.js").RunState} RunState */
/** @typedef {import("./run.js").Place} Place */

/** @typedef {{ tab: string, workflow: string, node: string, run: Run }} Shown `tab` "": any with the workflow */

const RUN_PROPERTY = "diffuseit_run";
const SHARES_PROPERTY = "diffuseit_share";
const MAX_RUNS = 24;
/** how many images are shown of a run whose own limit is not known */
const LATE_FRAMES = 12;

/** @type {Shown[]} the latest last */
let runs = [];

/** @type {RunEvent[] | null} the events since the server was asked for all of a run; null if it is not being asked */
let since = null;

/** @type {WeakMap<LGraphNode, RunWidget>} */
const widgets = new WeakMap();

/** @type {WeakMap<LGraphNode, LossBar>} */
const bars = new WeakMap();

/** @type {WeakMap<LGraphNode, string>} the execution id of the sampler whose shares a loss node shows */
const shownRuns = new WeakMap();

/** @param {LGraphNode} node a new sampler */
export function addRunWidget(node) {
  const widget = new RunWidget(node);
  widgets.set(node, widget);
  bind(node, widget, RUN_PROPERTY, () => restoreRun(node, widget));
}

/** @param {LGraphNode} node a new loss */
export function addLossBar(node) {
  const bar = new LossBar(node);
  bars.set(node, bar);
  bind(node, bar, SHARES_PROPERTY, () => restoreShares(node, bar));
}

/**
 * Calls `restore` when the node gets its properties from a file, and removes the widget with the node.
 * @param {LGraphNode} node
 * @param {{ remove: () => void }} widget
 * @param {string} property
 * @param {() => void} restore
 */
function bind(node, widget, property, restore) {
  const before = { onConfigure: node.onConfigure, onAdded: node.onAdded, onRemoved: node.onRemoved };
  node.onAdded = function (...args) {
    before.onAdded?.apply(this, args);
    // A node that is not from a file may get the id of one that is gone.
    if (!app.configuringGraph) forget(node);
  };
  node.onConfigure = function (data, ...args) {
    before.onConfigure?.call(this, data, ...args);
    // A copy has not run.
    if (String(data?.id) !== String(node.id)) delete node.properties[property];
    restore();
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
 * @param {Shown} shown
 * @returns {boolean} whether its workflow is open
 */
function isOpen({ tab, workflow }) {
  return (!workflow || workflow === openWorkflow()) && (!tab || tab === openTab());
}

/**
 * @param {LGraphNode} node
 * @returns {Shown | undefined} the last run of a sampler
 */
function lastRunOf(node) {
  const ids = executionIds(node);
  return runs.findLast((shown) => ids.includes(shown.node) && isOpen(shown));
}

/** @param {LGraphNode} node a new sampler or loss */
function forget(node) {
  const ids = executionIds(node);
  runs = runs.filter((shown) => !(ids.includes(shown.node) && isOpen(shown)));
}

/**
 * Shows the run of this session, else the one from the file.
 * @param {LGraphNode} node
 * @param {RunWidget} widget
 */
function restoreRun(node, widget) {
  widget.show(lastRunOf(node)?.run ?? readSavedRun(node.properties[RUN_PROPERTY], String(node.id)));
}

/**
 * Shows the shares in the last run of this session that had the loss, else those from the file.
 * @param {LGraphNode} node
 * @param {LossBar} bar
 */
function restoreShares(node, bar) {
  const ids = executionIds(node);
  const open = runs.filter(isOpen);
  const last = open.findLast(
    (shown) =>
      shown.run.losses.some((loss) => ids.includes(loss.node)) &&
      shown === open.findLast((other) => other.node === shown.node),
  );
  if (!last) {
    bar.show(readSavedShares(node.properties[SHARES_PROPERTY], String(node.id)));
    return;
  }
  const shares = lossShares(last.run);
  shownRuns.set(node, last.node);
  bar.show(ids.map((id) => shares.get(id)).find(Boolean) ?? null);
}

/** Restores everything that is shown, as when another tab or a subgraph was opened. */
export function restoreAll() {
  for (const node of allNodes()) {
    const widget = widgets.get(node);
    if (widget) restoreRun(node, widget);
    const bar = bars.get(node);
    if (bar) restoreShares(node, bar);
  }
}

/** @param {RunEvent} event of a run */
export function handleEvent(event) {
  const { place } = event;
  since?.push(event);
  const known = runs.find(({ run }) => run.id === place.run);
  if (event.kind === "begin") {
    keep(startRun(event));
  } else if (known) {
    const isMissing = leavesGap(known.run, event);
    updateRun(known.run, event);
    show(known, event.kind !== "steps" || event.gradients.length > 0);
    if (isMissing) void catchUp();
  } else {
    const late = bareRun(place.run, place, { isLate: true, frameLimit: LATE_FRAMES });
    updateRun(late, event);
    keep(late);
    void catchUp();
  }
}

/**
 * @param {Run} run
 * @param {RunEvent} event
 * @returns {boolean} whether events before this one have not arrived
 */
function leavesGap(run, event) {
  return event.kind === "steps" && event.from > run.done;
}

/** Shows the last run of this page from its beginning: some of its events, or all, may have been missed. */
export async function catchUp() {
  if (since) return;
  since = [];
  const [begin, ...events] = await fetchEvents();
  const prompt = begin?.place.prompt ?? "";
  if (begin && !knowsPrompt(prompt)) addPrompt(prompt, await fetchPrompt(prompt));
  const missed = [...events, ...since];
  since = null;
  if (begin?.kind !== "begin") return;
  const run = startRun(begin);
  let isMissing = false;
  for (const event of missed) {
    const isNew = event.kind !== "steps" || event.from >= run.done;
    if (event.kind === "begin" || event.place.run !== run.id || !isNew) continue;
    isMissing ||= leavesGap(run, event);
    updateRun(run, event);
  }
  keep(run);
  if (isMissing) await catchUp();
}

/**
 * Keeps a run as the last one of its node, and shows it.
 * @param {Run} run
 */
function keep(run) {
  const { place } = run;
  if (!place) return;
  noteInputs(run);
  runs = runs.filter((shown) => shown.run.id !== run.id);
  const shown = { ...placeOf(place.prompt, place.workflow, place.node), run };
  runs = [...runs, shown].slice(-MAX_RUNS);
  show(shown, true);
}

/** @param {Run} run of which it may be known by now what was queued */
function noteInputs(run) {
  const prompt = promptOf(run.place?.prompt ?? "");
  const node = run.place?.node ?? "";
  if (Object.hasOwn(prompt, node)) run.inputs = fingerprint(prompt, node);
}

/**
 * @param {string} prompt
 * @param {string} workflow
 * @param {string} node
 * @returns {Omit<Shown, "run">}
 */
function placeOf(prompt, workflow, node) {
  const isHere = !workflow || workflow === openWorkflow();
  return { tab: tabOf(prompt) ?? (isHere ? openTab() : ""), workflow, node };
}

/** @returns {Run[]} those that the server has not ended */
export function activeRuns() {
  return runs.map(({ run }) => run).filter(isActive);
}

/**
 * @param {string} prompt the server's id
 * @returns {Run[]} of the prompt
 */
export function runsOf(prompt) {
  return runs.map(({ run }) => run).filter(({ place }) => place?.prompt === prompt);
}

/**
 * @param {Run} run
 * @param {RunState} state
 * @param {string} [error]
 */
export function setState(run, state, error = "") {
  run.state = state;
  run.error = error;
  const shown = runs.find((one) => one.run === run);
  if (shown) show(shown, true);
}

/**
 * Shows that a sampler failed before its run began.
 * @param {string} prompt
 * @param {string} node its execution id
 * @param {string} error
 */
export function showFailure(prompt, node, error) {
  if (runs.some(({ run }) => run.place?.prompt === prompt && run.place.node === node)) return;
  keep(bareRun(`${prompt} ${node}`, hereOf(prompt, node), { state: "failed", error }));
}

/**
 * Shows which samplers had nothing to do, because ComfyUI has kept their results: with the runs that made these.
 * @param {string} prompt
 * @param {string[]} nodes execution ids of all that ComfyUI has kept
 */
export async function showCached(prompt, nodes) {
  await promptsKnown();
  const queued = promptOf(prompt);
  for (const id of nodes) {
    if (!Object.hasOwn(queued, id) || !RUNNERS.has(queued[id].class_type ?? "")) continue;
    const inputs = fingerprint(queued, id);
    const place = placeOf(prompt, hereOf(prompt, id).workflow, id);
    if (!isOpen({ ...place, run: bareRun("", null) })) continue;
    const run = runOf(inputs, id);
    runs = [...runs.filter((shown) => shown.run !== run), { ...place, run: { ...run, isCached: true } }];
    clearShares(queued, id);
    show(runs[runs.length - 1], true);
  }
}

/**
 * @param {string} inputs a fingerprint
 * @param {string} id of the sampler
 * @returns {Run} the one that was made from these inputs, as far as it is known
 */
function runOf(inputs, id) {
  const known = runs.findLast(({ run, node, ...rest }) => {
    return run.inputs === inputs && node === id && isOpen({ ...rest, run, node }) && !isActive(run);
  });
  if (known) return known.run;
  const node = findNode(id);
  const saved = node && readSavedRun(node.properties[RUN_PROPERTY], String(node.id));
  return saved?.inputs === inputs ? saved : bareRun("", null, { state: "done", inputs });
}

/**
 * Clears the shares on the losses that a sampler depends on.
 * @param {Prompt} prompt
 * @param {string} sampler
 */
function clearShares(prompt, sampler) {
  for (const id of upstream(prompt, sampler)) {
    const node = findNode(id);
    if (node) bars.get(node)?.show(null);
  }
}

/**
 * @param {string} prompt
 * @param {string} node
 * @returns {Place} in the open workflow, if its tab queued the prompt
 */
function hereOf(prompt, node) {
  const isHere = (tabOf(prompt) ?? openTab()) === openTab();
  return { workflow: isHere ? openWorkflow() : "", prompt, node, run: "" };
}

/**
 * Shows a run on its nodes if its workflow is the open one. The nodes keep a run that has ended.
 * @param {Shown} shown
 * @param {boolean} sharesChanged
 */
function show(shown, sharesChanged) {
  if (!isOpen(shown)) return;
  const { run, node: id } = shown;
  const node = findNode(id);
  const widget = node && widgets.get(node);
  if (!widget) return;
  widget.show(run);
  if (!isActive(run)) noteInputs(run);
  if (!isActive(run) && run.terms.size) node.properties[RUN_PROPERTY] = savedRun(run, String(node.id));
  if (sharesChanged) showShares(id, run);
}

/**
 * Shows the shares of a run on its loss nodes, and clears the nodes whose losses the run no longer has.
 * @param {string} sampler
 * @param {Run} run
 */
function showShares(sampler, run) {
  const shares = new Map([...lossShares(run)].map(([id, parts]) => [findNode(id), parts]));
  const lossNodes = new Set(run.losses.map(({ node }) => findNode(node)));
  for (const node of allNodes()) {
    const bar = bars.get(node);
    const parts = shares.get(node);
    if (bar && parts) {
      shownRuns.set(node, sampler);
      bar.show(parts);
      if (!isActive(run)) node.properties[SHARES_PROPERTY] = savedShares(parts, String(node.id));
    } else if (bar && shownRuns.get(node) === sampler && !lossNodes.has(node)) {
      bar.show(null);
      delete node.properties[SHARES_PROPERTY];
    }
  }
}
