/** One model: what it is, whether it is present, and its download. Changes in place, so that the focus stays. */

import { html, link } from "../shared/dom.js";
import { formatBytes } from "../shared/format.js";
import { catalogText, translator } from "../shared/words.js";
import { catalog, messageOf } from "../shared/catalog.js";
import { download } from "../shared/download.js";

/** @typedef {import("../shared/catalog.js").Model} Model */

const ACTIVE = ["waiting", "running", "stopping"];
const t = translator("sidebar");

/** A row in the list of models. */
export class ModelRow {
  #model;
  /** @type {string | null} why the server refused the last request */
  #refusal = null;
  #state = html("span", { class: "diffuseit-state" });
  #progress = html("progress", { max: 100 });
  #button = html("button", { type: "button", class: "diffuseit-button" });
  #note = html("p", { class: "diffuseit-facts" });
  #error = html("p", { class: "diffuseit-error", role: "alert" });
  #detailsText = html("p", { class: "diffuseit-facts" });
  #details = html(
    "details",
    { class: "diffuseit-details" },
    html("summary", {}, t("failed.details")),
    this.#detailsText,
  );
  /** @type {HTMLElement} the button, or how to get the model without it */
  #action;

  /** @param {Model} model */
  constructor(model) {
    this.#model = model;
    this.#button.addEventListener("click", () => void this.#onClick());
    this.#progress.setAttribute("aria-label", model.name);
    this.#action = model.manual ? manualDownload(model, model.manual) : this.#button;
    const facts = `${formatBytes(model.bytes)} · ${catalogText(model.terms)}`;
    this.root = html(
      "li",
      { class: "diffuseit-row", "data-model": model.name },
      html("div", { class: "diffuseit-head" }, html("h5", {}, model.name), this.#state),
      html("p", { class: "diffuseit-about" }, catalogText(model.purpose)),
      html(
        "div",
        { class: "diffuseit-foot" },
        html("p", { class: "diffuseit-facts", title: catalogText(model.limits) }, facts),
        this.#action,
      ),
      this.#progress,
      this.#note,
      this.#error,
      this.#details,
    );
    this.update(model);
  }

  get name() {
    return this.#model.name;
  }

  /** @param {Model} model as in the present listing */
  update(model) {
    this.#model = model;
    const job = model.present ? null : model.job;
    const isActive = job !== null && ACTIVE.includes(job.state);
    if (isActive) this.#refusal = null;
    const percent = job?.total ? Math.floor((100 * job.done) / job.total) : 0;
    const state = model.present ? "present" : job && isActive ? job.state : "missing";
    this.root.dataset.state = state;
    this.#state.textContent = t(`state.${state}`, { percent });
    this.#progress.hidden = !isActive;
    this.#progress.value = percent;
    this.#note.textContent = (isActive && job.note) || "";
    this.#note.hidden = !this.#note.textContent;
    const hasFailed = job?.state === "failed";
    const error = hasFailed ? job.error : this.#refusal;
    this.#error.hidden = !error;
    if (hasFailed && job.host) this.#error.replaceChildren(...unreached(model, job.host));
    else this.#error.textContent = error ? t("failed", { error }) : "";
    this.#detailsText.textContent = (hasFailed && job.details) || "";
    this.#details.hidden = !this.#detailsText.textContent;
    this.#updateButton(isActive, job?.state === "failed" || job?.state === "stopped");
    const isFocused = this.#action.contains(document.activeElement);
    this.#action.hidden = model.present;
    this.#button.disabled = job?.state === "stopping";
    if (isFocused && model.present) this.root.closest("details")?.querySelector("summary")?.focus();
  }

  /**
   * @param {boolean} isActive
   * @param {boolean} hasEnded without success
   */
  #updateButton(isActive, hasEnded) {
    const text = t(isActive ? "stop" : hasEnded ? "retry" : "download");
    this.#button.textContent = text;
    this.#button.setAttribute("aria-label", `${text}: ${this.name}`);
    this.#button.dataset.action = isActive ? "stop" : "download";
  }

  async #onClick() {
    try {
      if (this.#button.dataset.action === "stop") await catalog.stopDownload(this.name);
      else await download(this.name, [this.#model]);
    } catch (error) {
      this.#refusal = messageOf(error);
      this.update(this.#model);
    }
  }
}

/**
 * @param {Model} model
 * @param {string} host that cannot be reached
 * @returns {(Node | string)[]} what to do without it, in the language of ComfyUI
 */
function unreached({ file, url }, host) {
  const text = t("failed.host", { host, file, folder: catalog.listing.folder });
  return url ? [text, " ", link(t("manual.page"), url, t("newTab"))] : [text];
}

/**
 * @param {Model} model that its license lets nobody download automatically
 * @param {string} manual where to get it
 * @returns {HTMLElement}
 */
function manualDownload(model, manual) {
  const text = t("manual", { file: model.file, folder: catalog.listing.folder });
  const details = html(
    "details",
    { class: "diffuseit-manual" },
    html("summary", {}, t("manual.title")),
    html("p", {}, text),
  );
  const address = /https:\/\/\S+/.exec(manual)?.[0];
  if (address) details.append(link(t("manual.page"), address, t("newTab")));
  return details;
}
