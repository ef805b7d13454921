/** Keeps the elements of widgets on the screen where ComfyUI has built their nodes anew. */

import { app } from "../../../../scripts/app.js";

/**
 * Puts the element of a widget where the element of an earlier node is shown in its place.
 *
 * After undo, and wherever else a node takes the id of one that is gone, ComfyUI's Vue renderer goes on showing the
 * element of the earlier node: it mounts elements only for new ids.
 * @param {LGraphNode} node
 * @param {HTMLElement} element with the same `data-widget` as that of the earlier node
 */
export function mount(node, element) {
  if (element.isConnected || !node.graph || node.graph !== app.canvas?.graph) return;
  const shown = document.querySelector(`.lg-node[data-node-id="${CSS.escape(String(node.id))}"]`);
  const name = CSS.escape(element.dataset.widget ?? "");
  shown?.querySelector(`.diffuseit-node[data-widget="${name}"]`)?.replaceWith(element);
}
