/** Words of ComfyUI's language by which the search for nodes finds ours. The server has the English ones. */

import { translate } from "./words.js";

/**
 * Adds the words to the definitions that the search is made of. ComfyUI makes it anew when its language has changed.
 * @param {NodeDefinition[]} definitions of all nodes
 */
export function addSearchWords(definitions) {
  for (const definition of definitions) {
    const words = translate("search", definition.name, "");
    if (words) definition.search_aliases = [...(definition.search_aliases ?? []), ...words.split(", ")];
  }
}
