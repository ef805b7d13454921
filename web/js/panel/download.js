// @ts-check
// The question before a download, and its start.
import { app } from "../../../../scripts/app.js";
import { catalogued } from "../words.js";
import { catalogue, size } from "./catalogue.js";

/** @typedef {import("./catalogue.js").Model} Model */
/** @typedef {import("../words.js").Say} Say */

/**
 * Of these models, those that a download would fetch.
 * @param {Model[]} models
 */
export function missing(models) {
  return models.filter((model) => !model.present && !model.manual);
}

/**
 * Asks, and fetches what is missing of `models` if the answer is yes. Rejects with words if the server does.
 * @param {Say} say
 * @param {string} name of the model or bundle
 * @param {Model[]} models
 * @returns {Promise<boolean>} whether the user agreed
 */
export async function download(say, name, models) {
  const wanted = missing(models);
  const total = size(wanted.reduce((sum, model) => sum + model.bytes, 0));
  const pressed = document.activeElement;
  const agreed = await app.extensionManager.dialog.confirm({
    title: say("confirm.title", { name }),
    message: say("confirm.message", { size: total, folder: catalogue.listing.folder }),
    itemList: byOrigin(say, wanted),
    hint: say("confirm.hint"),
  });
  if (pressed instanceof HTMLElement) pressed.focus(); // older dialogs do not give it back
  if (agreed) await catalogue.start(name);
  return agreed === true;
}

/**
 * One line for those that come from one place under one licence.
 * @param {Say} say
 * @param {Model[]} models
 */
function byOrigin(say, models) {
  /** @type {Map<string, Model[]>} */
  const groups = new Map();
  for (const model of models) {
    const key = `${model.host} ${model.limits}`;
    groups.set(key, [...(groups.get(key) ?? []), model]);
  }
  return [...groups.values()].map((group) => {
    const terms = catalogued(group[0].terms);
    const limits = catalogued(group[0].limits);
    return say("confirm.item", {
      models: group.map((model) => `${model.name} (${model.size})`).join(", "),
      host: group[0].host ?? "",
      licence: limits.startsWith(terms) ? limits : `${terms}. ${limits}`,
    });
  });
}
