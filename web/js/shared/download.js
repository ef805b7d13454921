/** Asks before a download, and starts it. */

import { app } from "../../../../scripts/app.js";
import { formatBytes } from "./format.js";
import { catalogText, translator } from "./words.js";
import { catalog, downloadable, totalBytes } from "./catalog.js";

/** @typedef {import("./catalog.js").Model} Model */

const t = translator("download");

/**
 * Asks the user, and downloads the missing models if the answer is yes. Rejects if the server refuses.
 * @param {string} name of what is downloaded, for the question
 * @param {Model[]} models that it consists of
 * @param {string[]} [asked] the models or bundles that the server is asked for
 */
export async function download(name, models, asked = [name]) {
  const missing = downloadable(models);
  const focused = document.activeElement;
  const agreed = await app.extensionManager.dialog.confirm({
    title: t("title", { name }),
    message: t("message", { size: formatBytes(totalBytes(missing)), folder: catalog.listing.folder }),
    itemList: describe(missing),
    hint: t("hint"),
  });
  // Older versions of the dialog do not return the focus.
  if (focused instanceof HTMLElement) focused.focus();
  if (agreed) for (const one of asked) await catalog.startDownload(one);
}

/**
 * @param {Model[]} models
 * @returns {string[]} a line for those from the same host under the same license
 */
function describe(models) {
  /** @type {Map<string, Model[]>} */
  const groups = new Map();
  for (const model of models) {
    const key = `${model.host} ${model.limits}`;
    groups.set(key, [...(groups.get(key) ?? []), model]);
  }
  return [...groups.values()].map((group) => {
    const terms = catalogText(group[0].terms);
    const limits = catalogText(group[0].limits);
    return t("item", {
      models: group.map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`).join(", "),
      host: group[0].host ?? "",
      license: limits.startsWith(terms) ? limits : `${terms}. ${limits}`,
    });
  });
}
