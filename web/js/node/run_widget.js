/** What a sampler node shows of its run: lines of text, the curves, their names, and small images. */

import { app } from "../../../../scripts/app.js";
import { catalog } from "../shared/catalog.js";
import { forwardToCanvas } from "../shared/canvas_events.js";
import { html, iconButton } from "../shared/dom.js";
import { onSettingsChange, showsRuns, startsLogarithmic } from "../shared/settings.js";
import { language, translator } from "../shared/words.js";
import { Filmstrip } from "./filmstrip.js";
import { Legend } from "./legend.js";
import { MeasuredHeight } from "./measured_height.js";
import { mount } from "./mounting.js";
import { NoteLines } from "./note_lines.js";
import { linesOf } from "./notes.js";
import { PictureChoice } from "./picture_choice.js";
import { MAX_HEIGHT, MIN_HEIGHT, Plot } from "./plot.js";
import { computedTerms, currentPicture, framesOf, shownPictures } from "./run.js";
import { detailsText, statusText, tooltipText } from "./status.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Frame} Frame */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const COMPARE = "M8 2v12M3 4h10v8H3z";
const DEFAULT_WIDTH = 320;
const MARGIN = 8;
const GAP = 6;
const BUTTON_HEIGHT = 20;
const LINE_HEIGHT = 15;
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
  /** @type {number | null} what the arrows chose; null: the picture that is being made */
  #chosenPicture = null;
  /** @type {Set<string>} names of curves */
  #hidden = new Set();
  /** the id of the requested animation frame; 0: none */
  #request = 0;
  /** the height at the last drawing */
  #drawnHeight = 0;
  #plot = new Plot(() => this.#drawLegend());
  #legend = new Legend((name) => this.#toggle(name));
  #pictures = new PictureChoice((by) => this.#choosePicture(this.#picture + by));
  #filmstrip = new Filmstrip((frame) => this.#run && openViewer(this.#run, frame, 0));
  #status = html("span", { class: "status", role: "status", "aria-live": "off" });
  #details = html("span", { class: "status details" });
  #lines = html("div", { class: "lines" }, this.#status, this.#details);
  #notes = new NoteLines();
  #scaleButton = this.#makeScaleButton();
  #compareButton = iconButton(t("compare"), COMPARE, () => this.#compare());
  #header = html("header", {}, this.#lines, this.#scaleButton, this.#compareButton);
  #element = html(
    "div",
    { class: "diffuseit-node", "data-widget": "run" },
    this.#header,
    this.#notes.element,
    this.#plot.element,
    this.#legend.element,
    this.#pictures.element,
    this.#filmstrip.element,
  );
  #linesHeight = new MeasuredHeight(this.#lines, 2 * LINE_HEIGHT, () => this.#updateHeight());
  #notesHeight = new MeasuredHeight(this.#notes.element, LINE_HEIGHT, () => this.#updateHeight());
  #controller = new AbortController();
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
      hideInPanel: true, // which would give it the panel's width for good
      margin: MARGIN,
      getMinHeight: () => this.#height,
      getMaxHeight: () => this.#height + (this.#hasCurves ? MAX_HEIGHT - MIN_HEIGHT : 0),
    });
    widget.serialize = false; // in the workflow
    catalog.addEventListener("change", () => this.#drawSoon(), { signal: this.#controller.signal });
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

  get #hasCurves() {
    return this.#run !== null && computedTerms(this.#run).length > 0;
  }

  /** @returns {number} the picture of the batch that is shown */
  get #picture() {
    return this.#chosenPicture ?? (this.#run ? currentPicture(this.#run) : 0);
  }

  /** @param {Run | null} run */
  show(run) {
    if (run?.id !== this.#run?.id) this.#chosenPicture = null;
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

  /** @param {number} picture of the batch */
  #choosePicture(picture) {
    this.#chosenPicture = picture;
    this.#drawSoon();
  }

  #compare() {
    const frame = this.#run && framesOf(this.#run, this.#picture).at(-1);
    if (this.#run && frame) openViewer(this.#run, frame, 50);
  }

  #draw() {
    const run = this.#run;
    mount(this.#node, this.#element);
    this.#element.hidden = !showsRuns();
    this.#drawTexts();
    for (const part of [this.#plot.element, this.#legend.element, this.#scaleButton]) {
      part.toggleAttribute("hidden", !this.#hasCurves);
    }
    const frames = this.#frames;
    this.#pictures.show(this.#picture, run ? shownPictures(run) : 0, run?.batch ?? 1);
    this.#filmstrip.element.hidden = !frames.length;
    this.#compareButton.hidden = !frames.length || !run?.sources[this.#picture];
    this.#scaleButton.setAttribute("aria-pressed", String(this.#isLogarithmic));
    if (run && this.#hasCurves) {
      this.#plot.show(run, this.#isLogarithmic, this.#hidden);
      this.#drawLegend();
    }
    this.#filmstrip.show(frames);
    this.#updateHeight();
  }

  #drawTexts() {
    const run = this.#run;
    this.#element.lang = language();
    this.#status.textContent = statusText(run, this.#estimate);
    this.#details.textContent = detailsText(run, this.#estimate);
    this.#details.hidden = !this.#details.textContent;
    this.#status.title = this.#details.title = tooltipText(run, this.#estimate);
    this.#notes.show(linesOf(run, this.#estimate, (name) => this.#labelOf(name), this.#picture));
  }

  /**
   * @param {string} name of a widget of the node
   * @returns {string} what is written on it
   */
  #labelOf(name) {
    return this.#node.widgets?.find((widget) => widget.name === name)?.label || name;
  }

  /** @returns {Frame[]} the small images of the picture that is shown */
  get #frames() {
    return this.#run?.frames.filter(({ picture }) => picture === this.#picture) ?? [];
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

  /** @returns {number} the least height of the widget, its margin included; ComfyUI asks for it before the layout */
  get #height() {
    if (!showsRuns()) return 0;
    const run = this.#run;
    const width = this.#node.size[0] - 2 * MARGIN;
    const parts = [Math.max(BUTTON_HEIGHT, this.#linesHeight.height)];
    if (!this.#notes.element.hidden) parts.push(this.#notesHeight.height);
    if (run && this.#hasCurves) parts.push(MIN_HEIGHT, Legend.height(run, width));
    if (!this.#pictures.element.hidden) parts.push(PictureChoice.HEIGHT);
    if (run && this.#frames.length) parts.push(Filmstrip.height(run, this.#frames.length, width));
    return parts.reduce((sum, part) => sum + part) + (parts.length - 1) * GAP + 2 * MARGIN;
  }

  remove() {
    this.#plot.remove();
    this.#linesHeight.remove();
    this.#notesHeight.remove();
    this.#controller.abort();
    this.#stopListening();
    cancelAnimationFrame(this.#request);
  }
}
