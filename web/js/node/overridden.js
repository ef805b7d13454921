/** Greys out the widgets of a node whose values do not count, because connected options replace them. */

/** @type {WeakMap<LGraphNode, Set<string>>} the names of the widgets that are grey because of us */
const grey = new WeakMap();

/**
 * @param {LGraphNode} node
 * @param {Set<string>} names of the widgets that do not count
 */
export function greyOut(node, names) {
  const before = grey.get(node) ?? new Set();
  for (const widget of node.widgets ?? []) {
    if (names.has(widget.name) !== before.has(widget.name)) widget.disabled = names.has(widget.name);
  }
  grey.set(node, names);
}
