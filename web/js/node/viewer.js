/** A dialog with a large image of a run over the source image, and a divider to drag between the two. */

import { html, iconButton } from "../shared/dom.js";
import { translator } from "../shared/words.js";
import { Filmstrip } from "./filmstrip.js";
import { PictureChoice } from "./picture_choice.js";
import { framesOf, shownPictures } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Frame} Frame */

const CLOSE = "M4 4l8 8M12 4l-8 8";
const LEFT = "M10 3l-5 5 5 5";
const RIGHT = "M6 3l5 5-5 5";
const STEPS = new Map([
  ["ArrowLeft", -1],
  ["ArrowRight", 1],
]);
const t = translator("run");

/**
 * Opens the dialog. Escape, its button or a click beside it closes it. The arrow keys change the step, or move the
 * divider where that has the focus.
 * @param {Run} run
 * @param {Frame} frame
 * @param {number} split how much of the source shows, in percent; with 0 the focus is on the images
 */
export function openViewer(run, frame, split) {
  new Viewer(run, frame, split).open();
}

/** One dialog. */
class Viewer {
  #run;
  /** @type {Frame} */
  #frame;
  /** @type {Frame[]} of the picture that is shown */
  #frames;
  #title = html("h2");
  #after = html("img", { class: "after", alt: t("after") });
  #before = html("img", { class: "before", alt: t("before") });
  #divider = html("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": t("divider") });
  #comparison = [
    this.#before,
    html("span", { class: "line" }),
    html("span", { class: "word left", "aria-hidden": "true" }, t("before")),
    html("span", { class: "word right", "aria-hidden": "true" }, t("after")),
    this.#divider,
  ];
  #stage = html("div", { class: "stage" }, this.#after, ...this.#comparison);
  #pictures = new PictureChoice((by) => this.#choosePicture(this.#frame.picture + by));
  #filmstrip = new Filmstrip((frame) => this.#show(frame));
  #dialog = html(
    "dialog",
    { class: "diffuseit-viewer" },
    this.#header(),
    this.#stage,
    this.#pictures.element,
    this.#filmstrip.element,
  );

  /**
   * @param {Run} run
   * @param {Frame} frame
   * @param {number} split
   */
  constructor(run, frame, split) {
    this.#run = run;
    this.#frame = frame;
    this.#frames = framesOf(run, frame.picture);
    const place = () => this.#stage.style.setProperty("--split", `${this.#divider.value}%`);
    this.#divider.value = String(split);
    this.#divider.addEventListener("input", place);
    place();
    // The small image of the last step gives way to the result in full size.
    this.#show(this.#frames.find(({ step }) => step === frame.step) ?? frame);
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

  /** @param {number} picture of the batch */
  #choosePicture(picture) {
    this.#frames = framesOf(this.#run, picture);
    const same = this.#frames.find(({ step }) => step === this.#frame.step);
    const frame = same ?? this.#frames.at(-1);
    if (frame) this.#show(frame);
  }

  /** @param {Frame} frame */
  #show(frame) {
    this.#frame = frame;
    this.#after.src = frame.src;
    const source = this.#run.sources[frame.picture];
    if (source) this.#before.src = source;
    for (const part of this.#comparison) part.hidden = !source;
    const step = t("step", { step: frame.step + 1, total: this.#run.total });
    this.#title.textContent = step;
    this.#dialog.setAttribute("aria-label", step);
    this.#pictures.show(frame.picture, shownPictures(this.#run), this.#run.batch);
    this.#filmstrip.show(this.#frames, frame);
  }

  /** @param {number} by how many frames */
  #move(by) {
    const current = this.#frames.indexOf(this.#frame);
    this.#show(this.#frames[Math.min(this.#frames.length - 1, Math.max(0, current + by))]);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    // ComfyUI has shortcuts for many keys.
    event.stopPropagation();
    const by = STEPS.get(event.key);
    if (by === undefined || event.target === this.#divider) return;
    event.preventDefault();
    this.#move(by);
    this.#filmstrip.focus(this.#frame);
  }

  open() {
    const focused = document.activeElement;
    this.#dialog.addEventListener("keydown", (event) => this.#onKey(event));
    this.#dialog.addEventListener("pointerdown", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#dialog.addEventListener("close", () => {
      this.#dialog.remove();
      if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    });
    document.body.append(this.#dialog);
    this.#dialog.showModal();
    if (this.#divider.value === "0") this.#filmstrip.focus(this.#frame);
    else this.#divider.focus();
  }
}
