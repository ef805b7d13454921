/** The names of node and socket types that the front end looks for. */

export const SAMPLER = "DiffuseITSampler";
export const TRANSLATE = "DiffuseITTranslate";
export const VARIATIONS = "DiffuseITVariations";
/** The nodes that show a run. */
export const RUNNERS = new Set([
  SAMPLER,
  TRANSLATE,
  VARIATIONS,
  "DiffuseITGuideModel",
  "DiffuseITLatentSampler",
]);
export const LOSSES = "DIFFUSEIT_LOSSES";
