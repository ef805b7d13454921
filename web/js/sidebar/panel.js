/** The sidebar's panel: graphs to start with, models, help. */

import { html, link } from "../shared/dom.js";
import { language, translator } from "../shared/words.js";
import { catalog, messageOf } from "../shared/catalog.js";
import { Models } from "./models.js";
import { Starters } from "./starters.js";

const REPOSITORY = "https://github.com/diffuseit/diffuseit";
const HELP = {
  "help.troubleshooting": `${REPOSITORY}/blob/main/docs/troubleshooting.md`,
  "help.readme": `${REPOSITORY}#readme`,
  "help.issues": `${REPOSITORY}/issues`,
};
const t = translator("sidebar");

/**
 * @param {HTMLElement} container to fill
 * @param {AbortSignal} signal aborted when the panel is closed
 */
export async function openPanel(container, signal) {
  const error = html("div", { class: "diffuseit-error", role: "alert", hidden: true });
  const body = html("div");
  const announcement = html("p", { class: "diffuseit-visually-hidden", role: "status" });
  const attributes = { class: "diffuseit-sidebar", lang: language(), "aria-label": "DiffuseIT" };
  container.replaceChildren(
    html("section", attributes, html("h2", {}, "DiffuseIT"), error, body, announcement),
  );
  const load = async () => {
    error.hidden = true;
    try {
      await catalog.refresh();
      if (!signal.aborted) body.replaceChildren(...sections(announcement, signal));
    } catch (reason) {
      const retry = html("button", { type: "button", class: "diffuseit-button" }, t("retry"));
      retry.addEventListener("click", () => void load());
      error.replaceChildren(html("p", {}, t("noList", { error: messageOf(reason) })), retry);
      error.hidden = false;
    }
  };
  await load();
}

/**
 * @param {HTMLElement} announcement tells screen readers what became of a download
 * @param {AbortSignal} signal
 * @returns {HTMLElement[]}
 */
function sections(announcement, signal) {
  const starters = new Starters();
  const models = new Models();
  const onList = () => {
    starters.update();
    models.update();
  };
  const onChange = (/** @type {Event} */ event) => {
    const { name, state } = /** @type {CustomEvent<import("../shared/catalog.js").Job>} */ (event).detail;
    models.update();
    if (state !== "running") announcement.textContent = t(`announce.${state}`, { name });
  };
  catalog.addEventListener("list", onList, { signal });
  catalog.addEventListener("change", onChange, { signal });
  return [
    section(t("start"), html("p", { class: "diffuseit-lead" }, t("start.lead")), starters.root),
    section(t("models"), models.root),
    section(t("help"), help()),
  ];
}

/**
 * @param {string} title
 * @param {HTMLElement[]} content
 * @returns {HTMLElement}
 */
function section(title, ...content) {
  const heading = html("h3", {}, title);
  return html("section", { class: "diffuseit-section", "aria-label": title }, heading, ...content);
}

/** @returns {HTMLElement} */
function help() {
  const links = Object.entries(HELP).map(([key, address]) => link(t(key), address, t("newTab")));
  return html("ul", { class: "diffuseit-links" }, ...links.map((item) => html("li", {}, item)));
}
