/** Puts a seed that DiffuseIT Variations has tried into the sampler, from the menu of the node. */

import { app } from "../../../../scripts/app.js";
import { SAMPLER, TRANSLATE, VARIATIONS } from "../shared/node_types.js";
import { translator } from "../shared/words.js";

/** what nodes/variations.py calls the seeds, by rank */
const SEEDS = "diffuseit_seeds";
const MOST_ITEMS = 8;
const t = translator("run");

/** @type {WeakMap<LGraphNode, number[]>} the seeds of the last run, the best first */
const seeds = new WeakMap();

/** @param {LGraphNode} node a new Variations node */
export function keepSeeds(node) {
  const before = node.onExecuted;
  node.onExecuted = function (output) {
    before?.call(this, output);
    seeds.set(node, readSeeds(output?.[SEEDS]));
  };
}

/**
 * @param {unknown} value
 * @returns {number[]} without those that JavaScript cannot represent
 */
function readSeeds(value) {
  return Array.isArray(value) ? value.map(Number).filter(Number.isSafeInteger) : [];
}

/**
 * @param {LGraphNode} node
 * @returns {MenuItem[]} for its menu
 */
export function seedItems(node) {
  if (node.comfyClass !== VARIATIONS) return [];
  const samplers = samplersOf(node);
  if (!samplers.length) return [];
  return (seeds.get(node) ?? []).slice(0, MOST_ITEMS).map((seed, rank) => ({
    content: rank ? t("seed.use", { seed }) : t("seed.best", { seed }),
    callback: () => use(seed, samplers),
  }));
}

/**
 * @param {LGraphNode} node
 * @returns {LGraphNode[]} the samplers beside it with the same losses; without any, the only sampler
 */
function samplersOf(node) {
  const samplers = (node.graph?.nodes ?? []).filter(({ comfyClass }) =>
    [SAMPLER, TRANSLATE].includes(comfyClass),
  );
  const alike = samplers.filter((sampler) => originOf(sampler) && originOf(sampler) === originOf(node));
  if (alike.length) return alike;
  return samplers.length === 1 ? samplers : [];
}

/**
 * @param {LGraphNode} node
 * @returns {LGraphNode | null} where its losses come from
 */
function originOf(node) {
  const slot = node.findInputSlot("losses");
  return slot < 0 ? null : node.getInputNode(slot);
}

/**
 * @param {number} seed
 * @param {LGraphNode[]} samplers that take it, and keep it
 */
function use(seed, samplers) {
  const { canvas } = app;
  canvas.emitBeforeChange();
  for (const { widgets = [] } of samplers) {
    for (const widget of widgets) {
      if (widget.name === "seed") widget.value = seed;
      else if (widget.name === "control_after_generate") widget.value = "fixed";
      else continue;
      widget.callback?.(widget.value);
    }
  }
  canvas.emitAfterChange();
  canvas.setDirty(true, true);
}
