/** The names of node and socket types that the front end looks for. */

export const SAMPLER = "DiffuseITSampler";
export const LOSSES = "DIFFUSEIT_LOSSES";
