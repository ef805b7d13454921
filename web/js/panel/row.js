// @ts-check
// One model: what it is, whether it is here, and its download. Changes in place, so that the focus stays.
import { html, link } from "../dom.js";
import { catalogued } from "../words.js";
import { catalogue } from "./catalogue.js";
import { download } from "./download.js";

/** @typedef {import("./catalogue.js").Model} Model */
/** @typedef {import("../words.js").Say} Say */

const UNDER_WAY = ["waiting", "running", "stopping"];

export class Row {
  /** @type {string | null} */
  #refused = null;
  #state = html("span", { class: "diffuseit-state" });
  #bar = html("progress", { max: 100 });
  #button = html("button", { type: "button", class: "diffuseit-button" });
  /** @type {HTMLElement} */
  #get;
  #error = html("p", { class: "diffuseit-error", role: "alert" });

  /**
   * @param {Say} say
   * @param {Model} model
   */
  constructor(say, model) {
    this.say = say;
    this.model = model;
    this.#button.addEventListener("click", () => this.#press());
    this.#bar.setAttribute("aria-label", model.name);
    const about = html("p", { class: "diffuseit-about" }, catalogued(model.purpose));
    const facts = html("p", { class: "diffuseit-facts", title: catalogued(model.limits) });
    facts.append(`${model.size} · ${catalogued(model.terms)}`);
    const head = html("div", { class: "diffuseit-head" }, html("h5", {}, model.name), this.#state);
    const foot = html("div", { class: "diffuseit-foot" }, facts);
    this.#get = model.manual ? this.#byHand(model.manual) : this.#button;
    foot.append(this.#get);
    this.root = html("li", { class: "diffuseit-row" }, head, about, foot, this.#bar, this.#error);
    this.root.dataset.model = model.name;
    this.update(model);
  }

  /** @param {Model} model as the server has it now */
  update(model) {
    this.model = model;
    const { say } = this;
    const job = model.present ? null : model.job;
    const active = !!job && UNDER_WAY.includes(job.state);
    const percent = job?.total ? Math.floor((100 * job.done) / job.total) : 0;
    if (job && active) this.#refused = null;
    const state = model.present ? "present" : job && active ? job.state : "missing";
    this.root.dataset.state = state;
    this.#state.textContent = say(`state.${state}`, { percent });
    this.#bar.hidden = !active;
    this.#bar.value = percent;
    const error = job?.state === "failed" ? job.error : this.#refused;
    this.#error.hidden = !error;
    this.#error.textContent = error ? say("failed", { error }) : "";
    this.#label(active, job?.state === "failed" || job?.state === "stopped");
    const focused = this.#get.contains(document.activeElement);
    this.#get.hidden = model.present;
    this.#button.disabled = job?.state === "stopping";
    if (focused && model.present) this.root.closest("details")?.querySelector("summary")?.focus();
  }

  /**
   * @param {boolean} active
   * @param {boolean} again
   */
  #label(active, again) {
    const text = this.say(active ? "stop" : again ? "again" : "download");
    this.#button.textContent = text;
    this.#button.setAttribute("aria-label", `${text}: ${this.model.name}`);
    this.#button.dataset.does = active ? "stop" : "download";
  }

  async #press() {
    try {
      if (this.#button.dataset.does === "stop") await catalogue.stop(this.model.name);
      else await download(this.say, this.model.name, [this.model]);
    } catch (error) {
      this.#refused = error instanceof Error ? error.message : String(error);
      this.update(this.model);
    }
  }

  /** @param {string} manual */
  #byHand(manual) {
    const address = /https:\/\/\S+/.exec(manual)?.[0];
    const text = this.say("byHand", { file: this.model.file, folder: catalogue.listing.folder });
    const details = html("details", { class: "diffuseit-by-hand" });
    details.append(html("summary", {}, this.say("byHand.title")), html("p", {}, text));
    if (address) details.append(link(this.say("byHand.page"), address, this.say("newTab")));
    return details;
  }
}
