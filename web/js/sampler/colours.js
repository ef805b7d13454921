// @ts-check
/** The colour of each loss, the same in the plot, its legend and on the nodes of the chain. */

/** @type {Record<string, string>} */
const OF_TERMS = {
  text_style: "#e8853d",
  style_cls: "#e8853d",
  style_pixels: "#d65a7f",
  self_similarity: "#4c8df0",
  contrastive: "#2aa7a0",
  divergence: "#a274e0",
  range: "#8f9aa8",
  identity: "#b8912a",
  anchor: "#b8912a",
  source_anchor: "#4fa34f",
  colour_mean: "#d65a7f",
  colour_covariance: "#b8912a",
};
const OTHERS = ["#4fa34f", "#d65a7f", "#a274e0", "#b8912a"];

/** The terms of the losses by the names of their classes, the one that gives the colour first. */
/** @type {Record<string, string[]>} */
const OF_LOSSES = {
  TextStyleLoss: ["text_style"],
  ImageStyleLoss: ["style_cls", "style_pixels"],
  StructureLoss: ["self_similarity", "contrastive"],
  SemanticDivergenceLoss: ["divergence"],
  RangeLoss: ["range"],
  IdentityLoss: ["identity"],
  AnchorLoss: ["anchor"],
  SourceAnchorLoss: ["source_anchor"],
  ColourStatisticsLoss: ["colour_mean", "colour_covariance"],
};

/**
 * @param {string} term
 * @returns {string} for elements inside of `.diffuseit-live`: nearer to the ink, and so off the ground of any theme
 */
export function colourOf(term) {
  const letters = [...term].reduce((sum, letter) => sum + letter.charCodeAt(0), 0);
  return `color-mix(in srgb, ${OF_TERMS[term] ?? OTHERS[letters % OTHERS.length]} 70%, var(--ink))`;
}

/**
 * @param {string} loss the name of its class
 * @returns {string[]} the names of its terms
 */
export function termsOf(loss) {
  return OF_LOSSES[loss] ?? [loss];
}
