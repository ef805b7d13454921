// @ts-check
/** Graphs that were saved before the sampler had all of its widgets keep their pictures. */

import { SAMPLER } from "./book.js";

/** What the widgets that came later were before they came, in their order, and the place of the first. */
const FIRST = 18;
const LATER = Object.freeze([["balance", "fixed"], ["backward_until", 1], ["start_colour", 1]]);

/** @typedef {{type?: string, widgets_values?: unknown}} SavedNode */
/** @typedef {{nodes?: SavedNode[], definitions?: {subgraphs?: SavedGraph[]}}} SavedGraph */

/**
 * Fills in, in place, what saved samplers lack; a front end would give them the defaults of today.
 * @param {SavedGraph} graph
 */
export function complete(graph) {
  for (const node of graph.nodes ?? []) {
    const values = node.widgets_values;
    if (node.type === SAMPLER && Array.isArray(values) && values.length >= FIRST) {
      values.push(...LATER.slice(values.length - FIRST).map(([, value]) => value));
    }
  }
  for (const inner of graph.definitions?.subgraphs ?? []) complete(inner);
}
