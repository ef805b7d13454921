/** Inserts a planned graph into the open one: wired, arranged in a group where there is room, as one step to undo. */

import { app } from "../../../../scripts/app.js";
import { catalog } from "../shared/catalog.js";
import { showsRun } from "../shared/node_types.js";
import { translator } from "../shared/words.js";
import { arrange, findFreePlace, NODE_TITLE } from "./layout.js";

/** @typedef {import("./starter_graphs.js").Graph} Graph */
/** @typedef {import("./starter_graphs.js").NodePlan} NodePlan */
/** @typedef {import("./layout.js").Box} Box */
/** @typedef {import("./layout.js").Pair} Pair */

const GROUP_COLOR = "#3f789e";
/** pixels at the edges of the canvas that ComfyUI's menus cover */
const MENUS = 64;
const LEAST_READABLE_SCALE = 0.4;
/** the height that a run adds to a sampler: curves, images, and the preview of ComfyUI */
const RUN_HEIGHT = 640;
/** the height of a widget among the advanced ones, which the Vue renderer shows when it is asked to */
const ADVANCED_HEIGHT = 28;
const MODELS_FOLDER = "diffuseit";
const SETTLE_CHECK_MS = 100;
const MAX_SETTLE_CHECKS = 15;
const t = translator("sidebar");

/**
 * @param {Graph} graph
 * @param {string} title of the group
 * @param {HTMLElement | null} panel that covers a part of the canvas
 * @param {object} [around]
 * @param {Map<string, LGraphNode>} [around.known] nodes of the open graph that the inputs of new ones may name
 * @param {(nodes: Map<string, LGraphNode>) => void} [around.onConnected] called with all nodes by id, in the same step to undo
 * @returns {Promise<string[]>} the node types that this ComfyUI lacks; if there are any, nothing is inserted
 */
export async function insertGraph({ columns }, title, panel, { known = new Map(), onConnected } = {}) {
  const plans = columns.flat();
  const missing = plans.map((plan) => plan.type).filter((type) => !(type in LiteGraph.registered_node_types));
  if (missing.length) return missing;
  const { canvas } = app;
  const graph = canvas.graph ?? app.graph;
  const others = occupiedBoxes(graph);
  canvas.emitBeforeChange();
  try {
    const nodes = new Map(plans.map((plan) => [plan, createNode(graph, plan)]));
    const byId = new Map([
      ...known,
      ...[...nodes].map(([plan, node]) => /** @type {const} */ ([plan.id, node])),
    ]);
    for (const plan of plans) connect(byId, plan);
    onConnected?.(byId);
    // Otherwise the next run does it, as another step to undo.
    graph.updateExecutionOrder();
    const group = new LiteGraph.LGraphGroup(title);
    group.color = GROUP_COLOR;
    graph.add(group);
    const nodeColumns = columns.map((column) => column.flatMap((plan) => nodes.get(plan) ?? []));
    place(nodeColumns, group, others, panel);
    await settled([...nodes.values()]);
    // Once more with the sizes that the renderer has given the nodes.
    place(nodeColumns, group, others, panel);
    canvas.deselectAll();
  } finally {
    canvas.emitAfterChange();
  }
  canvas.setDirty(true, true);
  return [];
}

/**
 * @param {LGraph} graph
 * @param {NodePlan} plan
 * @returns {LGraphNode}
 */
function createNode(graph, plan) {
  const node = LiteGraph.createNode(plan.type);
  if (plan.title) node.title = t(`title.${plan.title}`);
  graph.add(node);
  const files = Object.entries(plan.files ?? {}).map(([widget, name]) => [
    widget,
    catalog.model(name)?.file ?? name,
  ]);
  const models = Object.values(plan.files ?? {}).flatMap((name) => downloadOf(name));
  if (models.length) node.properties.models = models;
  for (const [name, value] of [...Object.entries(plan.widgets ?? {}), ...files]) {
    const widget = node.widgets?.find((known) => known.name === name);
    if (!widget) continue;
    widget.value = value;
    widget.callback?.(value);
  }
  const [, height] = node.computeSize();
  node.setSize([plan.width, Math.max(height, plan.height ?? 0)]);
  return node;
}

/**
 * @param {string} name of a model in the catalog
 * @returns {{ name: string, url: string, directory: string }[]} what ComfyUI offers to download if the file is missing
 */
function downloadOf(name) {
  const model = catalog.model(name);
  return model?.url ? [{ name: model.file, url: model.url, directory: MODELS_FOLDER }] : [];
}

/**
 * @param {Map<string, LGraphNode>} nodes by the ids of their plans
 * @param {NodePlan} plan
 */
function connect(nodes, plan) {
  const target = nodes.get(plan.id);
  for (const [input, [from, output]] of Object.entries(plan.inputs ?? {})) {
    const slot = target?.findInputSlot(input) ?? -1;
    if (target && slot >= 0) nodes.get(from)?.connect(output, target, slot);
  }
}

/**
 * @param {LGraphNode[][]} columns
 * @param {LGraphGroup} group
 * @param {Box[]} others
 * @param {HTMLElement | null} panel
 */
function place(columns, group, others, panel) {
  const { positions, width, height } = arrange(columns.map((nodes) => nodes.map(neededSize)));
  const view = visibleBox(panel);
  const center = /** @type {Pair} */ ([view.x + view.width / 2, view.y + view.height / 2]);
  const corner = findFreePlace([width, height], center, others);
  // A move by a fraction of a pixel would be a step to undo.
  const [x, y] = [Math.round(corner[0]), Math.round(corner[1])];
  group.pos = [x, y];
  group.size = [width, height];
  columns.forEach((nodes, i) =>
    nodes.forEach((node, j) => {
      node.pos = [x + positions[i][j][0], y + positions[i][j][1]];
    }),
  );
  bringIntoView({ x, y, width, height }, panel);
}

/**
 * @param {LGraph} graph
 * @returns {Box[]} the boxes of all its nodes and groups
 */
function occupiedBoxes(graph) {
  const nodes = graph.nodes.map((node) => {
    const [width, height] = drawnSize(node);
    return { x: node.pos[0], y: node.pos[1] - NODE_TITLE, width, height: height + NODE_TITLE };
  });
  const groups = graph.groups.map(({ pos, size }) => ({
    x: pos[0],
    y: pos[1],
    width: size[0],
    height: size[1],
  }));
  return [...nodes, ...groups];
}

/**
 * @param {HTMLElement | null} panel
 * @returns {Box} the part of the canvas that neither the panel nor ComfyUI's menus cover, in pixels of the canvas
 */
function uncoveredBox(panel) {
  const canvas = app.canvas.canvas.getBoundingClientRect();
  const covered = panel?.getBoundingClientRect() ?? new DOMRect(canvas.left, canvas.top, 0, 0);
  const isLeft = covered.left + covered.right < canvas.left + canvas.right;
  const left = MENUS + (isLeft ? Math.max(0, covered.right - canvas.left) : 0);
  const right = (isLeft ? canvas.width : Math.min(canvas.width, covered.left - canvas.left)) - MENUS;
  return {
    x: left,
    y: MENUS,
    width: Math.max(right - left, 100),
    height: Math.max(canvas.height - 2 * MENUS, 100),
  };
}

/**
 * @param {HTMLElement | null} panel
 * @returns {Box} the visible part of the graph
 */
function visibleBox(panel) {
  const { scale, offset } = app.canvas.ds;
  const { x, y, width, height } = uncoveredBox(panel);
  return { x: x / scale - offset[0], y: y / scale - offset[1], width: width / scale, height: height / scale };
}

/**
 * Moves the view, and zooms out as far as text stays readable, until the box or its upper left part is visible.
 * @param {Box} box
 * @param {HTMLElement | null} panel
 */
function bringIntoView(box, panel) {
  const view = visibleBox(panel);
  const isVisible =
    box.x >= view.x &&
    box.y >= view.y &&
    box.x + box.width <= view.x + view.width &&
    box.y + box.height <= view.y + view.height;
  if (isVisible) return;
  const { ds } = app.canvas;
  const area = uncoveredBox(panel);
  const fit = Math.min(area.width / box.width, area.height / box.height);
  ds.scale = Math.min(ds.scale, Math.max(fit, LEAST_READABLE_SCALE));
  ds.offset[0] = (area.x + Math.max(0, area.width - box.width * ds.scale) / 2) / ds.scale - box.x;
  ds.offset[1] = (area.y + Math.max(0, area.height - box.height * ds.scale) / 2) / ds.scale - box.y;
}

/**
 * @param {LGraphNode} node
 * @returns {Pair} its size without the title, as drawn if that is larger than the node says
 */
function drawnSize({ size, boundingRect }) {
  return [Math.max(size[0], boundingRect[2]), Math.max(size[1], boundingRect[3] - NODE_TITLE)];
}

/**
 * @param {LGraphNode} node
 * @returns {Pair} the size that it needs in its group: samplers grow with a run, others when all inputs are shown
 */
function neededSize(node) {
  const [width, height] = drawnSize(node);
  const hidden = node.widgets?.filter(({ options }) => LiteGraph.vueNodesMode && options?.advanced) ?? [];
  return [width, height + (showsRun(node) ? RUN_HEIGHT : 0) + hidden.length * ADVANCED_HEIGHT];
}

/**
 * Waits until the nodes are drawn and keep their size: the Vue renderer measures them over several frames.
 * @param {LGraphNode[]} nodes
 */
async function settled(nodes) {
  let before = "";
  for (let check = 0, unchanged = 0; check < MAX_SETTLE_CHECKS && unchanged < 2; check++) {
    app.canvas.setDirty(true, true);
    await new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), SETTLE_CHECK_MS));
    const sizes = nodes.map(drawnSize).join();
    unchanged = sizes === before ? unchanged + 1 : 0;
    before = sizes;
  }
}
