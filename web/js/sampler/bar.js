// @ts-check
/** The bar on a loss node: how much of the last gradient was its own. */

import { html } from "../dom.js";
import { onSettings, showsRuns } from "../settings.js";
import { colourOf } from "./colours.js";
import { mainTerm } from "./shares.js";
import { passToCanvas } from "./wheel.js";
import { say, termName } from "./words.js";

/** @typedef {import("./places.js").GraphNode} GraphNode */
/** @typedef {import("./shares.js").Part} Part */

const HEIGHT = 14;
const MARGIN = 8;

/** The widget on one loss node, without height until there is something to show. */
export class Bar {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    /** @type {Part[] | null} */
    this.parts = null;
    this.track = html("div", { class: "track" });
    this.number = html("span", { class: "value" });
    this.element = html(
      "div",
      { class: "diffuseit-live diffuseit-bar", role: "img" },
      this.track,
      this.number,
    );
    passToCanvas(this.element);
    const height = () => (this.visible ? HEIGHT + 2 * MARGIN : 0);
    this.widget = node.addDOMWidget("diffuseit_share", "diffuseit_share", this.element, {
      serialize: false, // not in the prompt
      margin: MARGIN,
      getMinHeight: height,
      getMaxHeight: height,
    });
    this.widget.serialize = false; // nor among the saved values of the workflow
    this.forget = onSettings(() => this.draw());
    this.draw();
  }

  get visible() {
    return this.parts !== null && showsRuns();
  }

  /** @param {Part[] | null} parts */
  show(parts) {
    this.parts = parts;
    this.draw();
  }

  draw() {
    const wasHidden = this.element.hidden;
    this.element.hidden = !this.visible;
    if (wasHidden !== this.element.hidden) this.node.graph?.setDirtyCanvas(true, true);
    const parts = this.parts ?? [];
    const percent = Math.round(100 * parts.reduce((sum, { share }) => sum + share, 0));
    this.track.replaceChildren(...parts.map(segment));
    this.number.textContent = `${percent}%`;
    const text = say("share", { share: `${percent}%` });
    this.element.setAttribute("aria-label", text);
    const each =
      parts.length > 1 ? parts.map(({ loss, share }) => `${nameOf(loss)} ${Math.round(100 * share)}%`) : [];
    this.element.title = [text, ...each, say("shareHelp")].join("\n");
  }

  remove() {
    this.forget();
  }
}

/**
 * @param {Part} part
 * @returns {HTMLElement}
 */
function segment(part) {
  const element = html("span");
  element.style.width = `${100 * part.share}%`;
  element.style.background = colourOf(mainTerm(part));
  return element;
}

/**
 * @param {string} loss
 * @returns {string}
 */
function nameOf(loss) {
  return termName(mainTerm({ loss, share: 0 }));
}
