/** A dialog with a large image of a run over the source image, and a divider to drag between the two. */

import { html, iconButton } from "../shared/dom.js";
import { translator } from "../shared/words.js";
import { Filmstrip } from "./filmstrip.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Frame} Frame */

const CLOSE = "M4 4l8 8M12 4l-8 8";
const LEFT = "M10 3l-5 5 5 5";
const RIGHT = "M6 3l5 5-5 5";
const t = translator("run");

/**
 * Opens the dialog. Escape, its button or a click beside it closes it.
 * @param {Run} run
 * @param {Frame | null} frame null: the result
 * @param {number} split how much of the source shows, in percent
 */
export function openViewer(run, frame, split) {
  new Viewer(run, split).open(frame);
}

/** One dialog. */
class Viewer {
  #run;
  #frames;
  /** @type {Frame | null} */
  #frame = null;
  #title = html("h2");
  #image = html("img", { class: "after", alt: t("after") });
  #stage = html("div", { class: "stage" }, this.#image);
  #filmstrip = new Filmstrip((frame) => this.#show(frame));
  #dialog = html("dialog", { class: "diffuseit-viewer" }, this.#header(), this.#stage);
  /** @type {HTMLInputElement | null} */
  #divider;

  /**
   * @param {Run} run
   * @param {number} split
   */
  constructor(run, split) {
    this.#run = run;
    this.#frames = framesWithResult(run);
    this.#divider = run.source ? this.#addDivider(run.source, split) : null;
    this.#dialog.append(this.#filmstrip.element);
  }

  /** @returns {HTMLElement} */
  #header() {
    return html(
      "header",
      {},
      this.#title,
      iconButton(t("earlier"), LEFT, () => this.#move(-1)),
      iconButton(t("later"), RIGHT, () => this.#move(1)),
      iconButton(t("close"), CLOSE, () => this.#dialog.close()),
    );
  }

  /**
   * @param {string} source
   * @param {number} split
   * @returns {HTMLInputElement}
   */
  #addDivider(source, split) {
    const divider = html("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": t("divider") });
    divider.value = String(split);
    const place = () => this.#stage.style.setProperty("--split", `${divider.value}%`);
    divider.addEventListener("input", place);
    place();
    this.#stage.append(
      html("img", { class: "before", src: source, alt: t("before") }),
      html("span", { class: "line" }),
      html("span", { class: "word left", "aria-hidden": "true" }, t("before")),
      html("span", { class: "word right", "aria-hidden": "true" }, t("after")),
      divider,
    );
    return divider;
  }

  /** @param {Frame} frame */
  #show(frame) {
    this.#frame = frame;
    this.#image.src = frame.src;
    this.#title.textContent = t("step", { step: frame.step + 1, total: this.#run.total });
    this.#dialog.setAttribute("aria-label", this.#title.textContent);
    this.#filmstrip.show(this.#frames, frame);
  }

  /** @param {number} by how many frames */
  #move(by) {
    const current = this.#frames.findIndex((frame) => frame === this.#frame);
    this.#show(this.#frames[Math.min(this.#frames.length - 1, Math.max(0, current + by))]);
  }

  /** @param {Frame | null} frame null: the last one */
  open(frame) {
    this.#show(frame ?? this.#frames[this.#frames.length - 1]);
    const focused = document.activeElement;
    // ComfyUI has shortcuts for many keys.
    this.#dialog.addEventListener("keydown", (event) => event.stopPropagation());
    this.#dialog.addEventListener("pointerdown", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      this.#dialog.remove();
      if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    });
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    this.#divider?.focus();
  }
}

/**
 * @param {Run} run
 * @returns {Frame[]} the last of them is the result in full size, if the run has one
 */
function framesWithResult(run) {
  if (!run.result) return run.frames;
  const step = Math.max(0, run.done - 1);
  return [...run.frames.filter((frame) => frame.step !== step), { step, src: run.result }];
}
