// @ts-check
// What the panel drops on the canvas: the default presets, loss by loss. Numbers are the nodes' own defaults but where a
// preset has others; tests/comfyui/test_panel.py holds them against it.

/**
 * A node: `inputs` names the node, and the number of its output, that each input takes; `files` the models of the
 * catalogue that its widgets name. Columns go from left to right.
 * @typedef {{id: string, type: string, width: number, height?: number, title?: string,
 *   inputs?: Record<string, [string, number]>, widgets?: Record<string, string | number>,
 *   files?: Record<string, string>}} NodePlan
 * @typedef {{name: string, models: string[], columns: NodePlan[][]}} Graph
 */

const WIDTH = 300;
const PICTURE = { width: 340, height: 380 };

/** @type {Record<string, string>} */
const NO_FILES = {};

/** @param {Record<string, string>} [files] */
const ddpm = (files = NO_FILES) => ({ id: "ddpm", type: "DiffuseITLoadDDPM", width: WIDTH, files });

/** @param {Record<string, string>} [files] */
const vit = (files = NO_FILES) => ({ id: "vit", type: "DiffuseITLoadViT", width: WIDTH, files });

/** @param {Record<string, string>} [files] */
const clip = (files = NO_FILES) => ({ id: "clip", type: "DiffuseITLoadCLIPEnsemble", width: WIDTH, files });

/**
 * A loss after another one.
 * @param {string} id
 * @param {string} type
 * @param {string | null} after
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
const sampler = (losses, inputs = {}) => ({
  id: "sampler",
  type: "DiffuseITSampler",
  width: 320,
  inputs: { ddpm: ["ddpm", 0], image: ["source", 0], losses: [losses, 0], ...inputs },
});

/**
 * @param {string} from
 * @returns {NodePlan}
 */
const preview = (from) => ({ id: "preview", type: "PreviewImage", ...PICTURE, inputs: { images: [from, 0] } });

/**
 * The pocket models paint 64x64: their pictures are shown larger.
 * @returns {NodePlan[]}
 */
const enlarged = () => [
  {
    id: "enlarge",
    type: "ImageScaleBy",
    width: PICTURE.width,
    inputs: { image: ["sampler", 0] },
    widgets: { upscale_method: "nearest-exact", scale_by: 6 },
  },
  preview("enlarge"),
];

/**
 * @param {string} id
 * @param {string} picture
 * @param {number} scene
 * @returns {NodePlan}
 */
const example = (id, picture, scene) => ({
  id,
  type: "DiffuseITExamplePicture",
  width: WIDTH,
  widgets: { picture, scene },
});

/**
 * @param {string} id
 * @returns {NodePlan}
 */
const photo = (id) => ({ id, type: "LoadImage", width: WIDTH, height: 320 });

/** @type {[string, number]} */
const VIT = ["vit", 0];

/** @type {Graph} */
const pocketText = {
  name: "pocket-text",
  models: [],
  columns: [
    [example("source", "summer landscape", 15), ddpm(), vit(), clip()],
    [
      loss("style", "DiffuseITTextStyleLoss", null, { clip: ["clip", 0] }),
      loss("structure", "DiffuseITStructureLoss", "style", { vit: VIT }),
    ],
    [
      loss("colours", "DiffuseITColourStatisticsLoss", "structure", {}, { mean: 0, covariance: 0.3 }),
      loss("range", "DiffuseITRangeLoss", "colours"),
    ],
    [sampler("range")],
    enlarged(),
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
      loss("colours", "DiffuseITColourStatisticsLoss", "structure", { reference: ["look", 0] }),
      loss("range", "DiffuseITRangeLoss", "colours"),
    ],
    [sampler("range")],
    enlarged(),
  ],
};

const PAPER_DDPM = { model: "adm256-uncond" };
const PAPER_VIT = { model: "dino-b8" };
const PAPER_CLIP = {
  clip_1: "clip-rn50",
  clip_2: "clip-rn50x4",
  clip_3: "clip-b32",
  clip_4: "clip-rn50x16",
  clip_5: "clip-b16",
};

/** @type {Graph} */
const paperText = {
  name: "paper-text",
  models: [PAPER_DDPM, PAPER_VIT, PAPER_CLIP].flatMap(Object.values),
  columns: [
    [photo("source"), ddpm(PAPER_DDPM), vit(PAPER_VIT), clip(PAPER_CLIP)],
    [
      {
        id: "preset",
        type: "DiffuseITPreset",
        width: WIDTH,
        inputs: { vit: VIT, clip: ["clip", 0] },
        widgets: { preset: "official-text" },
      },
    ],
    [sampler("preset", { settings: ["preset", 1] })],
    [preview("sampler")],
  ],
};

/** @type {Graph} */
const paperImage = {
  name: "paper-image",
  models: [PAPER_DDPM, PAPER_VIT].flatMap(Object.values),
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
    [sampler("preset", { settings: ["preset", 1] })],
    [preview("sampler")],
  ],
};

export const GRAPHS = [pocketText, pocketImage, paperText, paperImage];
