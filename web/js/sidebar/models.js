/** The models of the catalog: bundles to download at once, then each model by kind. */

import { html } from "../shared/dom.js";
import { formatBytes } from "../shared/format.js";
import { catalogText, translator } from "../shared/words.js";
import { catalog, downloadable, messageOf, totalBytes } from "../shared/catalog.js";
import { download } from "../shared/download.js";
import { ModelRow } from "./model_row.js";
import { PocketFiles } from "./pocket_files.js";

/** @typedef {import("../shared/catalog.js").Bundle} Bundle */

const KINDS = /** @type {const} */ (["ddpm", "vit", "clip", "measure", "watermark", "flow"]);
const t = translator("sidebar");

/** The lists of bundles and models. */
export class Models {
  /** @type {Map<string, ModelRow>} */
  #rows = new Map();
  /** @type {(() => void)[]} update what depends on several models */
  #updates = [];
  #pocketFiles = new PocketFiles();
  root = html(
    "div",
    {},
    html("p", { class: "diffuseit-built-in" }, html("strong", {}, t("pocket")), " ", t("pocket.about")),
    this.#pocketFiles.root,
    this.#group(
      t("bundles"),
      catalog.listing.bundles.map((bundle) => this.#bundle(bundle)),
    ),
    ...KINDS.map((kind) => this.#kind(kind)),
  );

  constructor() {
    this.update();
  }

  /** Shows the present listing and jobs. */
  update() {
    this.#pocketFiles.update();
    for (const model of catalog.listing.models) this.#rows.get(model.name)?.update(model);
    for (const update of this.#updates) update();
  }

  /**
   * @param {typeof KINDS[number]} kind
   * @returns {HTMLElement} the models of a kind
   */
  #kind(kind) {
    const models = catalog.listing.models.filter((model) => model.kind === kind);
    const rows = models.map((model) => new ModelRow(model));
    for (const row of rows) this.#rows.set(row.name, row);
    const count = html("span", { class: "diffuseit-count" });
    this.#updates.push(() => {
      const present = models.filter(({ name }) => catalog.model(name)?.present).length;
      count.textContent = t("count", { present, total: models.length });
    });
    return this.#group(
      t(`kind.${kind}`),
      rows.map(({ root }) => root),
      count,
    );
  }

  /**
   * @param {string} title
   * @param {HTMLElement[]} items
   * @param {HTMLElement[]} notes beside the title
   * @returns {HTMLElement}
   */
  #group(title, items, ...notes) {
    const summary = html("summary", {}, html("h4", {}, title), ...notes);
    const list = html("ul", { class: "diffuseit-list" }, ...items);
    return html("details", { class: "diffuseit-group" }, summary, list);
  }

  /**
   * @param {Bundle} bundle
   * @returns {HTMLElement}
   */
  #bundle({ name, purpose }) {
    const facts = html("p", { class: "diffuseit-facts" });
    const label = `${t("download")}: ${name}`;
    const attributes = { type: "button", class: "diffuseit-button", "aria-label": label };
    const button = html("button", attributes, t("download"));
    const error = html("p", { class: "diffuseit-error", role: "alert", hidden: true });
    button.addEventListener("click", async () => {
      error.hidden = true;
      try {
        await download(name, catalog.members(name));
      } catch (reason) {
        error.textContent = t("failed", { error: messageOf(reason) });
        error.hidden = false;
      }
    });
    this.#updates.push(() => {
      facts.textContent = bundleFacts(name);
      button.hidden = !downloadable(catalog.members(name)).length;
    });
    return html(
      "li",
      { class: "diffuseit-row", "data-bundle": name },
      html("div", { class: "diffuseit-head" }, html("h5", {}, name), button),
      html("p", { class: "diffuseit-about" }, catalogText(purpose)),
      facts,
      error,
    );
  }
}

/**
 * @param {string} name of a bundle
 * @returns {string} what is there, and what is missing
 */
function bundleFacts(name) {
  const members = catalog.members(name);
  const missing = downloadable(members);
  const manual = members.filter((model) => model.manual && !model.present).map((model) => model.name);
  const present = members.filter((model) => model.present).length;
  const facts = [t("count", { present, total: members.length })];
  if (missing.length) facts.push(t("left", { size: formatBytes(totalBytes(missing)) }));
  if (manual.length) facts.push(t("left.manual", { names: manual.join(", ") }));
  return facts.join(" · ");
}
