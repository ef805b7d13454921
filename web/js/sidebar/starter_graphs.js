/**
 * The graphs that the sidebar inserts: the default presets, loss by loss.
 *
 * Only what differs from the defaults of the nodes is written here. tests/comfyui/test_panel.py compares the graphs with
 * the presets.
 *
 * @typedef {object} NodePlan
 * @property {string} id
 * @property {string} type
 * @property {number} width
 * @property {number} [height]
 * @property {string} [title] the end of a key of words
 * @property {Record<string, [string, number]>} [inputs] the node, and the number of its output, for each input
 * @property {Record<string, string | number | boolean>} [widgets]
 * @property {Record<string, string>} [files] the widgets that take the file of a model in the catalog
 *
 * @typedef {{ name: string, models: string[], columns: NodePlan[][] }} Graph columns from left to right
 */

import { SAMPLER } from "../shared/node_types.js";

const WIDTH = 300;
const PREVIEW = { width: 340, height: 380 };

/**
 * @param {Record<string, string>} [files]
 * @returns {NodePlan}
 */
function ddpm(files) {
  return { id: "ddpm", type: "DiffuseITLoadDDPM", width: WIDTH, files };
}

/**
 * @param {Record<string, string>} [files]
 * @returns {NodePlan}
 */
function vit(files) {
  return { id: "vit", type: "DiffuseITLoadViT", width: WIDTH, files };
}

/**
 * @param {string[]} [files] one for each model of the ensemble; without any the pocket model
 * @returns {NodePlan[]} the last one, called "clip", gives the whole ensemble
 */
function clip(files = []) {
  const last = Math.max(files.length, 1) - 1;
  return Array.from({ length: last + 1 }, (_, i) => {
    /** @type {Record<string, [string, number]>} */
    const inputs = i ? { "further.clip0": [`clip${i - 1}`, 0] } : {};
    const id = i === last ? "clip" : `clip${i}`;
    return {
      id,
      type: "DiffuseITLoadCLIP",
      width: WIDTH,
      files: files.length ? { model: files[i] } : undefined,
      inputs,
    };
  });
}

/**
 * @param {string} id
 * @param {string} type
 * @param {string | null} after the id of the previous loss
 * @param {Record<string, [string, number]>} [inputs]
 * @param {Record<string, string | number>} [widgets]
 * @returns {NodePlan}
 */
function loss(id, type, after, inputs = {}, widgets = {}) {
  const chained = after ? { ...inputs, previous: /** @type {[string, number]} */ ([after, 0]) } : inputs;
  return { id, type, width: WIDTH, inputs: chained, widgets };
}

/**
 * @param {string} losses
 * @param {Record<string, [string, number]>} [inputs]
 * @returns {NodePlan}
 */
function sampler(losses, inputs = {}) {
  return {
    id: "sampler",
    type: SAMPLER,
    width: 320,
    inputs: { ddpm: ["ddpm", 0], image: ["source", 0], losses: [losses, 0], ...inputs },
  };
}

/**
 * @param {string} from
 * @returns {NodePlan}
 */
function preview(from) {
  return { id: "preview", type: "PreviewImage", ...PREVIEW, inputs: { images: [from, 0] } };
}

/** @returns {NodePlan[]} an enlarged preview, for the 64x64 pixels of the pocket models */
function enlargedPreview() {
  const enlarge = {
    id: "enlarge",
    type: "ImageScaleBy",
    width: PREVIEW.width,
    inputs: { image: /** @type {[string, number]} */ (["sampler", 0]) },
    widgets: { upscale_method: "nearest-exact", scale_by: 6 },
  };
  return [enlarge, preview("enlarge")];
}

/**
 * @param {string} id
 * @param {string} picture
 * @param {number} scene
 * @returns {NodePlan}
 */
function example(id, picture, scene) {
  return {
    id,
    type: "DiffuseITExamplePicture",
    width: WIDTH,
    title: id,
    widgets: { picture, scene },
  };
}

/**
 * @param {string} id
 * @returns {NodePlan}
 */
function photo(id) {
  return { id, type: "LoadImage", width: WIDTH, height: 320, title: id };
}

/** @type {[string, number]} */
const VIT = ["vit", 0];

/** @type {Graph} */
const pocketText = {
  name: "pocket-text",
  models: [],
  columns: [
    [example("source", "summer landscape", 15), ddpm(), vit(), ...clip()],
    [
      loss("style", "DiffuseITTextStyleLoss", null, { clip: ["clip", 0] }),
      loss("structure", "DiffuseITStructureLoss", "style", { vit: VIT }),
    ],
    [
      loss("colors", "DiffuseITColorStatisticsLoss", "structure", {}, { mean: 0, covariance: 0.3 }),
      loss("range", "DiffuseITRangeLoss", "colors"),
    ],
    [sampler("range")],
    enlargedPreview(),
  ],
};

/** @type {Graph} */
const pocketImage = {
  name: "pocket-image",
  models: [],
  columns: [
    [example("source", "summer landscape", 23), example("look", "sunset landscape", 8), ddpm(), vit()],
    [
      loss("style", "DiffuseITImageStyleLoss", null, { vit: VIT, style_image: ["look", 0] }),
      loss("structure", "DiffuseITStructureLoss", "style", { vit: VIT }, { contrastive: 0.12 }),
    ],
    [
      loss("colors", "DiffuseITColorStatisticsLoss", "structure", { reference: ["look", 0] }),
      loss("range", "DiffuseITRangeLoss", "colors"),
    ],
    [sampler("range")],
    enlargedPreview(),
  ],
};

const PAPER_DDPM = { model: "adm256-uncond" };
const PAPER_VIT = { model: "dino-b8" };
const PAPER_CLIPS = ["clip-rn50", "clip-rn50x4", "clip-b32", "clip-rn50x16", "clip-b16"];

/** @type {Graph} */
const paperText = {
  name: "paper-text",
  models: [PAPER_DDPM.model, PAPER_VIT.model, ...PAPER_CLIPS],
  columns: [
    [photo("source"), ddpm(PAPER_DDPM), vit(PAPER_VIT)],
    clip(PAPER_CLIPS),
    [
      {
        id: "preset",
        type: "DiffuseITPreset",
        width: WIDTH,
        inputs: { vit: VIT, clip: ["clip", 0] },
        widgets: { preset: "official-text" },
      },
    ],
    [sampler("preset", { options: ["preset", 1] })],
    [preview("sampler")],
  ],
};

/** @type {Graph} */
const paperImage = {
  name: "paper-image",
  models: [PAPER_DDPM.model, PAPER_VIT.model],
  columns: [
    [photo("source"), photo("look")],
    [
      ddpm(PAPER_DDPM),
      vit(PAPER_VIT),
      {
        id: "preset",
        type: "DiffuseITPreset",
        width: WIDTH,
        inputs: { vit: VIT, style_image: ["look", 0] },
        widgets: { preset: "official-image" },
      },
    ],
    [sampler("preset", { options: ["preset", 1] })],
    [preview("sampler")],
  ],
};

export const GRAPHS = [pocketText, pocketImage, paperText, paperImage];
