/** What a sampler node shows of its run: two lines of text, the curves, their names, and small images. */

import { app } from "../../../../scripts/app.js";
import { forwardToCanvas } from "../shared/canvas_events.js";
import { html, iconButton } from "../shared/dom.js";
import { onSettingsChange, showsRuns, startsLogarithmic } from "../shared/settings.js";
import { translator } from "../shared/words.js";
import { Filmstrip } from "./filmstrip.js";
import { Legend } from "./legend.js";
import { MAX_HEIGHT, MIN_HEIGHT, Plot } from "./plot.js";
import { detailsText, statusText, tooltipText } from "./status.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const COMPARE = "M8 2v12M3 4h10v8H3z";
const DEFAULT_WIDTH = 320;
const MARGIN = 8;
const GAP = 6;
const ONE_LINE = 20;
const TWO_LINES = 34;
const t = translator("run");

/** The widget on one sampler node. */
export class RunWidget {
  #node;
  /** @type {Run | null} */
  #run = null;
  /** @type {Estimate | null} */
  #estimate = null;
  /** @type {boolean | null} what the button chose; null: as in the settings */
  #chosenScale = null;
  /** @type {Set<string>} names of curves */
  #hidden = new Set();
  /** the id of the requested animation frame; 0: none */
  #request = 0;
  /** the height at the last drawing */
  #drawnHeight = 0;
  #plot = new Plot(() => this.#drawLegend());
  #legend = new Legend((name) => this.#toggle(name));
  #filmstrip = new Filmstrip((frame) => this.#run && openViewer(this.#run, frame, 0));
  #status = html("span", { class: "status", role: "status", "aria-live": "off" });
  #details = html("span", { class: "status" });
  #scaleButton = this.#makeScaleButton();
  #compareButton = iconButton(t("compare"), COMPARE, () => this.#run && openViewer(this.#run, null, 50));
  #header = html(
    "header",
    {},
    html("div", { class: "lines" }, this.#status, this.#details),
    this.#scaleButton,
    this.#compareButton,
  );
  #element = html(
    "div",
    { class: "diffuseit-node" },
    this.#header,
    this.#plot.element,
    this.#legend.element,
    this.#filmstrip.element,
  );
  #stopListening = onSettingsChange(() => this.#drawSoon());

  /** @param {LGraphNode} node */
  constructor(node) {
    this.#node = node;
    this.#element.style.gap = `${GAP}px`;
    forwardToCanvas(this.#element);
    // A node from a file gets its own size after this.
    node.size[0] = Math.max(node.size[0], DEFAULT_WIDTH);
    const widget = node.addDOMWidget("diffuseit_run", "diffuseit_run", this.#element, {
      serialize: false, // in the prompt
      margin: MARGIN,
      getMinHeight: () => this.#height,
      getMaxHeight: () => this.#height + (this.#run ? MAX_HEIGHT - MIN_HEIGHT : 0),
    });
    widget.serialize = false; // in the workflow
    this.#draw();
  }

  /** @returns {HTMLButtonElement} */
  #makeScaleButton() {
    const name = t("logarithmic");
    const attributes = { type: "button", class: "scale", title: name, "aria-label": `log: ${name}` };
    const button = html("button", attributes, "log");
    button.addEventListener("click", () => {
      this.#chosenScale = !this.#isLogarithmic;
      this.#drawSoon();
    });
    return button;
  }

  get #isLogarithmic() {
    return this.#chosenScale ?? startsLogarithmic();
  }

  /** @param {Run | null} run */
  show(run) {
    this.#run = run;
    this.#drawSoon();
  }

  /** @param {Estimate | null} estimate of the next run */
  showEstimate(estimate) {
    this.#estimate = estimate;
    this.#drawSoon();
  }

  /** @param {string} name of a curve to hide or show */
  #toggle(name) {
    if (!this.#hidden.delete(name)) this.#hidden.add(name);
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
    const run = this.#run;
    this.#element.hidden = !showsRuns();
    this.#status.textContent = statusText(run, this.#estimate);
    this.#details.textContent = detailsText(run, this.#estimate);
    this.#details.hidden = !this.#details.textContent;
    this.#header.style.minHeight = `${this.#headerHeight}px`;
    this.#status.title = this.#details.title = tooltipText(run, this.#estimate);
    for (const part of [this.#plot.element, this.#legend.element, this.#scaleButton]) {
      part.toggleAttribute("hidden", !run);
    }
    this.#filmstrip.element.hidden = !run?.frames.length;
    this.#compareButton.hidden = !run?.frames.length || !run.source;
    this.#scaleButton.setAttribute("aria-pressed", String(this.#isLogarithmic));
    if (run) {
      this.#plot.show(run, this.#isLogarithmic, this.#hidden);
      this.#drawLegend();
      this.#filmstrip.show(run.frames);
    }
    this.#updateHeight();
  }

  #drawLegend() {
    if (this.#run) this.#legend.show(this.#run, this.#plot.selected, this.#hidden);
  }

  /** Has the node laid out anew if the widget needs another height. */
  #updateHeight() {
    const height = this.#height;
    if (height === this.#drawnHeight) return;
    this.#drawnHeight = height;
    app.graph.setDirtyCanvas(true, true);
  }

  get #headerHeight() {
    return this.#details.hidden ? ONE_LINE : TWO_LINES;
  }

  /** @returns {number} the least height of the widget, its margin included; ComfyUI asks for it before the layout */
  get #height() {
    if (!showsRuns()) return 0;
    const run = this.#run;
    const width = this.#node.size[0] - 2 * MARGIN;
    const parts = [this.#headerHeight];
    if (run) parts.push(MIN_HEIGHT, Legend.height(run, width));
    if (run?.frames.length) parts.push(Filmstrip.height(run, width));
    return parts.reduce((sum, part) => sum + part) + (parts.length - 1) * GAP + 2 * MARGIN;
  }

  remove() {
    this.#plot.remove();
    this.#stopListening();
    cancelAnimationFrame(this.#request);
  }
}
