/** The names of node and socket types that the front end looks for. */

export const SAMPLER = "DiffuseITSampler";
/** The nodes that show a run. */
export const RUNNERS = new Set([SAMPLER, "DiffuseITGuideModel", "DiffuseITLatentSampler"]);
export const LOSSES = "DIFFUSEIT_LOSSES";
