/** Graphs to start with, inserted with one click each. */

import { app } from "../../../../scripts/app.js";
import { html } from "../shared/dom.js";
import { formatBytes } from "../shared/format.js";
import { translator } from "../shared/words.js";
import { catalog, downloadable, totalBytes } from "../shared/catalog.js";
import { insertGraph } from "./insert_graph.js";
import { GRAPHS } from "./starter_graphs.js";

/** @typedef {import("./starter_graphs.js").Graph} Graph */

const t = translator("sidebar");

/** The list of graphs. */
export class Starters {
  /** @type {(() => void)[]} */
  #updates = [];
  root = html("ul", { class: "diffuseit-list" }, ...GRAPHS.map((graph) => this.#starter(graph)));

  constructor() {
    this.update();
  }

  /** Shows which models the graphs need. */
  update() {
    for (const update of this.#updates) update();
  }

  /**
   * @param {Graph} graph
   * @returns {HTMLElement}
   */
  #starter(graph) {
    const note = html("span", { class: "diffuseit-note" });
    const button = html(
      "button",
      { type: "button", class: "diffuseit-starter", "data-graph": graph.name },
      html("span", { class: "diffuseit-title" }, t(`start.${graph.name}`)),
      html("span", { class: "diffuseit-about" }, t(`start.${graph.name}.about`)),
      note,
    );
    button.addEventListener("click", () => void insert(graph, button));
    this.#updates.push(() => {
      const missing = downloadable(graph.models.flatMap((name) => catalog.model(name) ?? []));
      const size = formatBytes(totalBytes(missing));
      note.textContent = missing.length
        ? t("start.needs", { count: missing.length, size })
        : t("start.ready");
      note.dataset.ready = String(!missing.length);
    });
    return html("li", {}, button);
  }
}

/**
 * @param {Graph} graph
 * @param {HTMLButtonElement} button disabled until the graph has its place, which the next one must not take
 */
async function insert(graph, button) {
  button.disabled = true;
  try {
    const panel = /** @type {HTMLElement} */ (button.closest(".diffuseit-sidebar"));
    const missing = await insertGraph(graph, `DiffuseIT: ${t(`start.${graph.name}`)}`, panel);
    if (missing.length) {
      const detail = t("start.missingNodes", { types: missing.join(", ") });
      app.extensionManager.toast.add({ severity: "error", summary: "DiffuseIT", detail });
    }
  } finally {
    button.disabled = false;
    button.focus();
  }
}
