/** The bar on a loss node: how much of the gradient comes from it, over the whole run. */

import { forwardToCanvas } from "../shared/canvas_events.js";
import { html } from "../shared/dom.js";
import { onSettingsChange, showsRuns } from "../shared/settings.js";
import { translate, translator } from "../shared/words.js";
import { mount } from "./mounting.js";

/** @typedef {import("./run.js").Share} Share */

const HEIGHT = 14;
const MARGIN = 8;
const t = translator("run");

/** The widget on one loss node. It has no height until there is something to show. */
export class LossBar {
  #node;
  /** @type {Share[] | null} one for each loss of the node */
  #shares = null;
  /** the id of the requested animation frame; 0: none */
  #request = 0;
  #track = html("div", { class: "track" });
  #number = html("span", { class: "value" });
  #element = html(
    "div",
    { class: "diffuseit-node diffuseit-share", "data-widget": "share", role: "img" },
    this.#track,
    this.#number,
  );
  #stopListening = onSettingsChange(() => this.#drawSoon());

  /** @param {LGraphNode} node */
  constructor(node) {
    this.#node = node;
    this.#element.style.minHeight = `${HEIGHT}px`;
    forwardToCanvas(this.#element);
    const height = () => (this.#isVisible ? HEIGHT + 2 * MARGIN : 0);
    const widget = node.addDOMWidget("diffuseit_share", "diffuseit_share", this.#element, {
      serialize: false, // in the prompt
      hideInPanel: true,
      margin: MARGIN,
      getMinHeight: height,
      getMaxHeight: height,
    });
    widget.serialize = false; // in the workflow
    this.#draw();
  }

  get #isVisible() {
    return this.#shares !== null && showsRuns();
  }

  /** @param {Share[] | null} shares */
  show(shares) {
    this.#shares = shares;
    this.#drawSoon();
  }

  /** Draws once before the screen's next frame. */
  #drawSoon() {
    this.#request ||= requestAnimationFrame(() => {
      this.#request = 0;
      this.#draw();
    });
  }

  #draw() {
    mount(this.#node, this.#element);
    const wasHidden = this.#element.hidden;
    this.#element.hidden = !this.#isVisible;
    if (wasHidden !== this.#element.hidden) this.#node.graph?.setDirtyCanvas(true, true);
    const shares = this.#shares ?? [];
    const total = percent(shares.reduce((sum, { share }) => sum + share, 0));
    this.#track.replaceChildren(...shares.map(segment));
    this.#number.textContent = total;
    const text = t("share", { share: total });
    this.#element.setAttribute("aria-label", text);
    const each = shares.map(
      ({ term, label, share }) => `${translate("terms", term, label)} ${percent(share)}`,
    );
    const last = t("shareOfLast", { share: percent(shares.reduce((sum, part) => sum + part.last, 0)) });
    this.#element.title = [text, ...(each.length > 1 ? each : []), last, t("shareHelp")].join("\n");
  }

  remove() {
    this.#stopListening();
    cancelAnimationFrame(this.#request);
  }
}

/**
 * @param {Share} share
 * @returns {HTMLElement}
 */
function segment({ color, share }) {
  const element = html("span");
  element.style.setProperty("--term", color);
  element.style.width = `${100 * share}%`;
  return element;
}

/**
 * @param {number} share
 * @returns {string}
 */
function percent(share) {
  return `${Math.round(100 * share)}%`;
}
