// @ts-check
/** From the ids of an execution to nodes of the open graph, and back. */

import { app } from "../../../../scripts/app.js";

/** @typedef {any} GraphNode a node of ComfyUI's graph */

/** @returns {any} the graph that all subgraphs hang in */
function root() {
  return app.rootGraph ?? app.graph;
}

/** @returns {string} the id of the open workflow */
export function openWorkflow() {
  return String(root()?.id ?? "");
}

/**
 * The node of an execution id: "7", or "12:3" for node 3 inside of subgraph node 12.
 * @param {string} id
 * @returns {GraphNode | null}
 */
export function nodeAt(id) {
  const path = id.split(":");
  const last = path.pop();
  const graph = path.reduce((outer, part) => outer?.getNodeById(part)?.subgraph, root());
  return graph?.getNodeById(last) ?? null;
}

/**
 * The execution ids of a node: one for each instance of the subgraph that it is in.
 * @param {GraphNode} node
 * @returns {string[]}
 */
export function idsOf(node) {
  return pathsTo(node.graph, root(), "").map((path) => path + node.id);
}

/**
 * @param {any} graph what is looked for
 * @param {any} inside where
 * @param {string} path of `inside`
 * @returns {string[]}
 */
function pathsTo(graph, inside, path) {
  if (!graph || !inside) return [];
  if (graph === inside) return [path];
  return (inside.nodes ?? []).flatMap((/** @type {GraphNode} */ node) =>
    node.subgraph ? pathsTo(graph, node.subgraph, `${path}${node.id}:`) : [],
  );
}

/**
 * All nodes of the open workflow, those of subgraphs too.
 * @param {any} [graph]
 * @returns {GraphNode[]}
 */
export function allNodes(graph = root()) {
  return (graph?.nodes ?? []).flatMap((/** @type {GraphNode} */ node) =>
    node.subgraph ? [node, ...allNodes(node.subgraph)] : [node],
  );
}
