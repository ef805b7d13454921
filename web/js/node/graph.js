/** Finds the nodes of the open workflow by the ids that the server calls them by, and back. */

import { app } from "../../../../scripts/app.js";

/** @returns {LGraph} the graph that holds all subgraphs */
function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** @returns {string} the id of the open workflow */
export function openWorkflow() {
  return String(rootGraph().id ?? "");
}

/**
 * @param {string} id an execution id: "7", or "12:3" for node 3 inside subgraph node 12
 * @returns {LGraphNode | null}
 */
export function findNode(id) {
  const path = id.split(":");
  const last = path.pop() ?? "";
  /** @type {LGraph | undefined} */
  let graph = rootGraph();
  for (const part of path) graph = graph?.getNodeById(part)?.subgraph;
  return graph?.getNodeById(last) ?? null;
}

/**
 * @param {LGraphNode} node
 * @returns {string[]} its execution ids: one for each instance of the subgraph that it is in
 */
export function executionIds(node) {
  return pathsTo(node.graph, rootGraph(), "").map((path) => `${path}${node.id}`);
}

/**
 * @param {LGraph | null} graph to look for
 * @param {LGraph} outer to look in
 * @param {string} path of `outer`
 * @returns {string[]}
 */
function pathsTo(graph, outer, path) {
  if (!graph) return [];
  if (graph === outer) return [path];
  return outer.nodes.flatMap((node) =>
    node.subgraph ? pathsTo(graph, node.subgraph, `${path}${node.id}:`) : [],
  );
}

/**
 * @param {LGraph} [graph]
 * @returns {LGraphNode[]} all nodes of the open workflow, those in subgraphs included
 */
export function allNodes(graph = rootGraph()) {
  return graph.nodes.flatMap((node) => (node.subgraph ? [node, ...allNodes(node.subgraph)] : [node]));
}

/**
 * @returns {string} everything that a prompt of the open workflow is made of, in short: it changes if the prompt would
 */
export function graphSignature() {
  return JSON.stringify(
    allNodes().map((node) => [
      node.id,
      node.type,
      node.mode,
      node.widgets?.map(({ value }) => (typeof value === "object" ? null : value)),
      node.inputs?.map(({ link }) => link ?? null),
    ]),
  );
}
