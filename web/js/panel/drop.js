// @ts-check
// A planned graph becomes nodes on the canvas: wired, tidy, in a group, where there is room. One step to undo.
import { app } from "../../../../scripts/app.js";
import { catalogue } from "./catalogue.js";
import { freePlace, tidy, TITLE } from "./layout.js";

/** @typedef {import("./graphs.js").Graph} Graph */
/** @typedef {import("./graphs.js").NodePlan} NodePlan */
/** @typedef {import("./layout.js").Box} Box */

const COLOUR = "#3f789e";
const MENUS = 64; // pixels at the canvas' edges over which ComfyUI's menus lie
const READABLE = 0.4;
const SAMPLER = "DiffuseITSampler";
const RUN_HEIGHT = 400; // of the curves and pictures that a run adds to a sampler
const LOOK_MS = 100; // how often to see whether the Vue renderer, which measures nodes as drawn, has come to rest
const LOOKS = 15;

/**
 * @param {Graph} plan
 * @param {string} title of the group
 * @param {HTMLElement} panel which hides a part of the canvas
 * @returns {Promise<string[]>} types of nodes that this ComfyUI does not have; then nothing was dropped
 */
export async function drop(plan, title, panel) {
  const wanted = plan.columns.flat();
  const unknown = wanted.map((node) => node.type).filter((type) => !(type in LiteGraph.registered_node_types));
  if (unknown.length) return unknown;
  const { canvas } = app;
  const graph = canvas.graph ?? app.graph;
  const others = occupied(graph);
  canvas.emitBeforeChange();
  try {
    const made = new Map(wanted.map((node) => [node.id, make(graph, node)]));
    for (const node of wanted) wire(made, node);
    graph.updateExecutionOrder(); // else the next prompt does, which would be a step to undo
    const columns = plan.columns.map((column) => column.map(({ id }) => /** @type {LGraphNode} */ (made.get(id))));
    const group = new LiteGraph.LGraphGroup(title);
    group.color = COLOUR;
    graph.add(group);
    place(columns, group, others, panel);
    await drawn([...made.values()]);
    place(columns, group, others, panel); // with the sizes as drawn
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
 */
function make(graph, plan) {
  const node = LiteGraph.createNode(plan.type);
  if (plan.title) node.title = plan.title;
  graph.add(node);
  const files = Object.entries(plan.files ?? {}).map(([widget, name]) => [widget, catalogue.model(name)?.file ?? name]);
  for (const [name, value] of [...Object.entries(plan.widgets ?? {}), ...files]) {
    const widget = node.widgets?.find((known) => known.name === name);
    if (!widget) continue;
    widget.value = value;
    widget.callback?.(value);
  }
  const [, tall] = node.computeSize();
  node.setSize([plan.width, Math.max(tall, plan.height ?? 0)]);
  return node;
}

/**
 * @param {Map<string, LGraphNode>} made
 * @param {NodePlan} plan
 */
function wire(made, plan) {
  for (const [input, [from, output]] of Object.entries(plan.inputs ?? {})) {
    const target = made.get(plan.id);
    const slot = target?.findInputSlot(input) ?? -1;
    if (target && slot >= 0) made.get(from)?.connect(output, target, slot);
  }
}

/**
 * @param {LGraphNode[][]} columns
 * @param {LGraphGroup} group
 * @param {Box[]} others
 * @param {HTMLElement} panel
 */
function place(columns, group, others, panel) {
  const { places, width, height } = tidy(columns.map((nodes) => nodes.map(room)));
  const seen = visible(panel);
  const corner = freePlace({ width, height }, [seen.x + seen.width / 2, seen.y + seen.height / 2], others);
  const [x, y] = [Math.round(corner[0]), Math.round(corner[1])]; // moved by a hair's breadth is a step to undo
  group.pos = [x, y];
  group.size = [width, height];
  columns.forEach((nodes, i) =>
    nodes.forEach((node, j) => {
      node.pos = [x + places[i][j][0], y + places[i][j][1]];
    }),
  );
  show({ x, y, width, height }, panel);
}

/**
 * What lies on the canvas already.
 * @param {LGraph} graph
 * @returns {Box[]}
 */
function occupied(graph) {
  const nodes = graph.nodes.map((node) => {
    const [width, height] = extent(node);
    return { x: node.pos[0], y: node.pos[1] - TITLE, width, height: height + TITLE };
  });
  const groups = graph.groups.map(({ pos, size }) => ({ x: pos[0], y: pos[1], width: size[0], height: size[1] }));
  return [...nodes, ...groups];
}

/**
 * The part of the screen where the canvas is seen, less what ComfyUI's menus cover, in pixels from its corner.
 * @param {HTMLElement} panel
 * @returns {Box}
 */
function screen(panel) {
  const canvas = app.canvas.canvas.getBoundingClientRect();
  const covered = panel.getBoundingClientRect();
  const atLeft = covered.left + covered.right < canvas.left + canvas.right;
  const left = MENUS + (atLeft ? Math.max(0, covered.right - canvas.left) : 0);
  const right = (atLeft ? canvas.width : Math.min(canvas.width, covered.left - canvas.left)) - MENUS;
  return { x: left, y: MENUS, width: Math.max(right - left, 100), height: Math.max(canvas.height - 2 * MENUS, 100) };
}

/**
 * The part of the graph that is seen.
 * @param {HTMLElement} panel
 * @returns {Box}
 */
function visible(panel) {
  const { scale, offset } = app.canvas.ds;
  const { x, y, width, height } = screen(panel);
  return { x: x / scale - offset[0], y: y / scale - offset[1], width: width / scale, height: height / scale };
}

/**
 * Moves the view, and goes back as far as one can still read, so that the box is seen: all of it, or its upper left.
 * @param {Box} box
 * @param {HTMLElement} panel
 */
function show(box, panel) {
  const seen = visible(panel);
  const right = seen.x + seen.width;
  const below = seen.y + seen.height;
  if (box.x >= seen.x && box.y >= seen.y && box.x + box.width <= right && box.y + box.height <= below) return;
  const { ds } = app.canvas;
  const area = screen(panel);
  const fit = Math.min(area.width / box.width, area.height / box.height);
  ds.scale = Math.min(ds.scale, Math.max(fit, READABLE));
  ds.offset[0] = (area.x + Math.max(0, area.width - box.width * ds.scale) / 2) / ds.scale - box.x;
  ds.offset[1] = (area.y + Math.max(0, area.height - box.height * ds.scale) / 2) / ds.scale - box.y;
}

/**
 * Width and height below the title, as drawn where that is more than the node knows of.
 * @param {LGraphNode} node
 * @returns {[number, number]}
 */
function extent({ size, boundingRect }) {
  return [Math.max(size[0], boundingRect[2]), Math.max(size[1], boundingRect[3] - TITLE)];
}

/**
 * What a node needs in its group: a sampler grows by the curves and pictures of its run.
 * @param {LGraphNode} node
 * @returns {[number, number]}
 */
function room(node) {
  const [wide, tall] = extent(node);
  return [wide, node.type === SAMPLER ? tall + RUN_HEIGHT : tall];
}

/**
 * Once the nodes have been drawn, and twice had the same size.
 * @param {LGraphNode[]} nodes
 */
async function drawn(nodes) {
  let before = "";
  for (let look = 0, same = 0; look < LOOKS && same < 2; look += 1) {
    app.canvas.setDirty(true, true);
    await new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), LOOK_MS));
    const now = nodes.map(extent).join();
    same = now === before ? same + 1 : 0;
    before = now;
  }
}
