// @ts-check
/** What a sampler node shows of its run: a line of words, curves, names, pictures. */

import { app } from "../../../../scripts/app.js";
import { html, iconButton } from "../dom.js";
import { beginsLogarithmic, onSettings, showsRuns } from "../settings.js";
import { Film } from "./film.js";
import { Legend } from "./legend.js";
import { Plot } from "./plot.js";
import { KEPT_FRAMES } from "./run.js";
import { details, hint, status } from "./status.js";
import { openViewer } from "./viewer.js";
import { passToCanvas } from "./wheel.js";
import { say } from "./words.js";

/** @typedef {import("./places.js").GraphNode} GraphNode */
/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const HALVES = "M8 2v12M3 4h10v8H3z";
const MARGIN = 8;
const LINE = 20;
const SECOND_LINE = 14;
const PLOT = 120;
const MORE_PLOT = 120;
const GAP = 6;
const TILE = 44;
const TILE_GAP = 4;
const LEGEND_ROW = 17;
const LEGEND_COLUMN = 132;
const LEGEND_GAP = 12;
const DEFAULT_WIDTH = 320;

/** The widget on one sampler node. */
export class Panel {
  /** @param {GraphNode} node */
  constructor(node) {
    this.node = node;
    /** @type {Run | null} */
    this.run = null;
    /** @type {Estimate | null} */
    this.estimate = null;
    /** @type {boolean | null} what the button chose; null: the setting's */
    this.log = null;
    /** @type {Set<string>} */
    this.hidden = new Set();
    this.waiting = 0;
    /** what `height` was when last drawn */
    this.room = 0;
    this.plot = new Plot(() => this.drawLegend());
    this.legend = new Legend((name) => this.toggle(name));
    this.film = new Film((frame) => this.run && openViewer(this.run, frame, 0));
    this.status = html("span", { class: "status", role: "status", "aria-live": "off" });
    this.logButton = this.makeLogButton();
    this.compare = iconButton(say("compare"), HALVES, () => this.run && openViewer(this.run, null, 50));
    this.details = html("span", { class: "status" });
    const words = html("div", { class: "words" }, this.status, this.details);
    const head = html("header", {}, words, this.logButton, this.compare);
    this.element = html(
      "div",
      { class: "diffuseit-live" },
      head,
      this.plot.element,
      this.legend.element,
      this.film.element,
    );
    passToCanvas(this.element);
    node.size[0] = Math.max(node.size[0], DEFAULT_WIDTH); // of a new node; a saved one gets its own after this
    this.widget = this.addWidget();
    this.forget = onSettings(() => this.changed());
    this.draw();
  }

  /** @returns {HTMLButtonElement} */
  makeLogButton() {
    const name = say("logarithmic");
    const button = html("button", { type: "button", class: "log", title: name, "aria-label": `log: ${name}` }, "log");
    button.addEventListener("click", () => {
      this.log = !this.logarithmic;
      this.changed();
    });
    return button;
  }

  /** @returns {any} */
  addWidget() {
    const widget = this.node.addDOMWidget("diffuseit_run", "diffuseit_run", this.element, {
      serialize: false, // neither in the prompt
      margin: MARGIN,
      getMinHeight: () => this.height(),
      getMaxHeight: () => this.height() + (this.run ? MORE_PLOT : 0),
    });
    widget.serialize = false; // nor among the saved values of the workflow
    return widget;
  }

  get logarithmic() {
    return this.log ?? beginsLogarithmic();
  }

  /** @returns {number} what the node has to leave free for it */
  height() {
    if (!showsRuns()) return 0;
    const parts = [this.details.hidden ? LINE : LINE + SECOND_LINE];
    if (this.run) {
      const names = Object.keys(this.run.series).length;
      const columns = columnsIn(this.width, LEGEND_COLUMN, LEGEND_GAP);
      const rows = Math.ceil((names > 1 ? names + 1 : names) / columns);
      parts.push(PLOT, rows * LEGEND_ROW);
      if (this.run.frames.length) parts.push(this.filmHeight());
    }
    return parts.reduce((sum, part) => sum + part) + (parts.length - 1) * GAP + 2 * MARGIN;
  }

  /** @returns {number} */
  get width() {
    return this.node.size[0] - 2 * MARGIN;
  }

  /** @returns {number} square tiles in rows, each at least as wide as `TILE` */
  filmHeight() {
    const columns = columnsIn(this.width, TILE, TILE_GAP);
    const { state = "done", frames = [], total = 0 } = this.run ?? {};
    const coming = state === "running" || state === "silent" ? Math.min(KEPT_FRAMES, total) : 0; // room for all of them from the start
    const rows = Math.ceil(Math.max(coming, frames.length) / columns);
    return rows * ((this.width + TILE_GAP) / columns) - TILE_GAP;
  }

  /**
   * @param {Run | null} run
   */
  show(run) {
    this.run = run;
    this.changed();
  }

  /**
   * @param {Estimate | null} estimate of the next run
   */
  expect(estimate) {
    this.estimate = estimate;
    this.changed();
  }

  /** Draws again, once before the next frame. */
  changed() {
    this.waiting ||= requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    const run = this.run;
    this.element.hidden = !showsRuns();
    this.status.textContent = status(run, this.estimate);
    this.details.textContent = details(run, this.estimate);
    this.details.hidden = !this.details.textContent;
    this.status.title = this.details.title = hint(run, this.estimate);
    for (const part of [this.plot.element, this.legend.element, this.logButton])
      {part.toggleAttribute("hidden", !run);}
    this.film.element.hidden = !run?.frames.length;
    this.compare.hidden = !run?.frames.length || !run.source;
    this.logButton.setAttribute("aria-pressed", String(this.logarithmic));
    if (run) {
      this.plot.show(run, this.logarithmic, this.hidden);
      this.drawLegend();
      this.film.show(run.frames);
    }
    this.makeRoom();
  }

  drawLegend() {
    if (this.run) this.legend.show(this.run, this.plot.position, this.hidden);
  }

  /** Has the node grow where there is more to show than before. */
  makeRoom() {
    const height = this.height();
    if (height === this.room) return;
    this.room = height;
    app.graph?.setDirtyCanvas(true, true);
  }

  /** @param {string} name */
  toggle(name) {
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.changed();
  }

  remove() {
    this.plot.remove();
    this.forget();
    cancelAnimationFrame(this.waiting);
  }
}

/**
 * How many columns of at least `column` a grid of CSS makes of `width`.
 * @param {number} width
 * @param {number} column
 * @param {number} gap
 * @returns {number}
 */
function columnsIn(width, column, gap) {
  return Math.max(1, Math.floor((width + gap) / (column + gap)));
}
