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

/** The widget on one loss node. It has its height before there is a share to show, so that a run lets no node grow. */
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
    const height = () => (showsRuns() ? HEIGHT + 2 * MARGIN : 0);
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
    this.#element.hidden = !showsRuns();
    if (wasHidden !== this.#element.hidden) this.#node.graph?.setDirtyCanvas(true, true);
    this.#track.replaceChildren(...(this.#shares ?? []).map(segment));
    this.#number.textContent = this.#shares ? percent(sumOf(this.#shares, "share")) : "";
    const lines = this.#shares ? linesOf(this.#shares) : [t("noShare")];
    this.#element.setAttribute("aria-label", lines[0]);
    this.#element.title = [...lines, t("shareHelp")].join("\n");
  }

  remove() {
    this.#stopListening();
    cancelAnimationFrame(this.#request);
  }
}

/**
 * @param {Share[]} shares of a node
 * @returns {string[]} the tooltip: that of all its losses, and of each one
 */
function linesOf(shares) {
  const each = shares.map(({ term, label, share }) => `${translate("terms", term, label)} ${percent(share)}`);
  return [
    t("share", { share: percent(sumOf(shares, "share")) }),
    ...(each.length > 1 ? each : []),
    t("shareOfLast", { share: percent(sumOf(shares, "last")) }),
  ];
}

/**
 * @param {Share[]} shares
 * @param {"share" | "last"} which
 * @returns {number}
 */
function sumOf(shares, which) {
  return shares.reduce((sum, share) => sum + share[which], 0);
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
