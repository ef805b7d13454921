// @ts-check
// Graphs to begin with, one press each.
import { app } from "../../../../scripts/app.js";
import { html } from "../dom.js";
import { catalogue, size } from "./catalogue.js";
import { missing } from "./download.js";
import { drop } from "./drop.js";
import { GRAPHS } from "./graphs.js";

/** @typedef {import("./graphs.js").Graph} Graph */
/** @typedef {import("../words.js").Say} Say */

export class Starters {
  /** @type {(() => void)[]} */
  #notes = [];

  /** @param {Say} say */
  constructor(say) {
    this.say = say;
    const list = html("ul", { class: "diffuseit-list" });
    for (const graph of GRAPHS) list.append(this.#starter(graph));
    this.root = list;
    this.update();
  }

  /** After the listing changed. */
  update() {
    for (const note of this.#notes) note();
  }

  /** @param {Graph} graph */
  #starter(graph) {
    const { say } = this;
    const title = say(`start.${graph.name}`);
    const note = html("span", { class: "diffuseit-note" });
    this.#notes.push(() => {
      const models = graph.models.flatMap((name) => catalogue.model(name) ?? []);
      const wanted = missing(models);
      const left = size(wanted.reduce((sum, model) => sum + model.bytes, 0));
      note.textContent = wanted.length ? say("start.needs", { count: wanted.length, size: left }) : say("start.ready");
      note.dataset.ready = String(!wanted.length);
    });
    const button = html("button", { type: "button", class: "diffuseit-starter" });
    button.append(
      html("span", { class: "diffuseit-title" }, title),
      html("span", { class: "diffuseit-about" }, say(`start.${graph.name}.about`)),
      note,
    );
    button.dataset.graph = graph.name;
    button.addEventListener("click", async () => {
      button.disabled = true; // until it has found its place, so that a second one finds another
      const panel = /** @type {HTMLElement} */ (button.closest(".diffuseit-panel"));
      const unknown = await drop(graph, `DiffuseIT: ${title}`, panel).finally(() => {
        button.disabled = false;
        button.focus();
      });
      if (unknown.length) {
        const detail = say("start.unknown", { types: unknown.join(", ") });
        app.extensionManager.toast.add({ severity: "error", summary: "DiffuseIT", detail });
      }
    });
    return html("li", {}, button);
  }
}
