/** The names of node and socket types that the front end looks for. */

export const SAMPLER = "DiffuseITSampler";
export const TRANSLATE = "DiffuseITTranslate";
export const VARIATIONS = "DiffuseITVariations";
export const LOSSES = "DIFFUSEIT_LOSSES";

/** The nodes that show a run: curves, images, and what is known before it. */
export const RUNNERS = new Set([
  SAMPLER,
  TRANSLATE,
  VARIATIONS,
  "DiffuseITGuideModel",
  "DiffuseITLatentSampler",
]);

/**
 * @param {LGraphNode} node
 * @returns {boolean} whether it shows a run
 */
export function showsRun(node) {
  return RUNNERS.has(node.comfyClass);
}

/** The nodes whose output has a `text` to show. */
export const REPORTERS = new Set(["DiffuseITEvaluate", "DiffuseITSaveSignedImage", "DiffuseITVerify"]);

/** The nodes that give losses of others. */
const WITHOUT_OWN_LOSSES = new Set(["DiffuseITCombineLosses", "DiffuseITLossSchedule"]);

/**
 * @param {LGraphNode} node
 * @returns {boolean} whether it shows the share of its losses
 */
export function showsShares(node) {
  if (node.subgraph || showsRun(node) || WITHOUT_OWN_LOSSES.has(node.comfyClass)) return false;
  return node.outputs?.some(({ type }) => type === LOSSES) ?? false;
}
