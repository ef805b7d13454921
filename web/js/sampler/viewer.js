// @ts-check
/** A dialog that shows a picture of a run large, and beside it the one before the run, with a divider to drag. */

import { html, iconButton } from "../dom.js";
import { Film } from "./film.js";
import { say } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Frame} Frame */

const CROSS = "M4 4l8 8M12 4l-8 8";
const LEFT = "M10 3l-5 5 5 5";
const RIGHT = "M6 3l5 5-5 5";

/**
 * Opens the dialog; Escape, the button or a click beside it closes it.
 * @param {Run} run
 * @param {Frame | null} frame null: the result
 * @param {number} split percent of the source that is shown
 */
export function openViewer(run, frame, split) {
  new Viewer(run, frame, split).open();
}

/** One open dialog. */
class Viewer {
  /**
   * @param {Run} run
   * @param {Frame | null} frame
   * @param {number} split
   */
  constructor(run, frame, split) {
    this.run = run;
    this.frames = withResult(run);
    this.title = html("h2");
    this.after = html("img", { class: "after", alt: say("after") });
    this.stage = html("div", { class: "stage" }, this.after);
    this.film = new Film((chosen) => this.show(chosen));
    const close = iconButton(say("close"), CROSS, () => this.dialog.close());
    const earlier = iconButton(say("earlier"), LEFT, () => this.move(-1));
    const later = iconButton(say("later"), RIGHT, () => this.move(1));
    const head = html("header", {}, this.title, earlier, later, close);
    this.dialog = html("dialog", { class: "diffuseit-viewer" }, head, this.stage);
    this.divider = run.source ? this.addDivider(split) : null;
    this.dialog.append(this.film.element);
    this.show(frame ?? this.frames[this.frames.length - 1]);
  }

  /**
   * @param {number} split
   * @returns {HTMLInputElement}
   */
  addDivider(split) {
    const before = html("img", { class: "before", src: this.run.source, alt: say("before") });
    const words = [
      html("span", { class: "word left", "aria-hidden": "true" }, say("before")),
      html("span", { class: "word right", "aria-hidden": "true" }, say("after")),
    ];
    const divider = html("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": say("divider") });
    divider.value = String(split);
    const place = () => this.stage.style.setProperty("--split", `${divider.value}%`);
    divider.addEventListener("input", place);
    place();
    this.stage.append(before, html("span", { class: "line" }), ...words, divider);
    return divider;
  }

  /** @param {Frame} frame */
  show(frame) {
    this.frame = frame;
    this.after.src = frame.src;
    this.title.textContent = say("step", { step: frame.at + 1, total: this.run.total });
    this.dialog.setAttribute("aria-label", this.title.textContent);
    this.film.show(this.frames, frame);
  }

  /** @param {number} by */
  move(by) {
    const now = this.frames.findIndex((frame) => frame === this.frame);
    this.show(this.frames[Math.min(this.frames.length - 1, Math.max(0, now + by))]);
  }

  open() {
    const back = document.activeElement;
    this.dialog.addEventListener("keydown", (event) => event.stopPropagation()); // ComfyUI has shortcuts of its own
    this.dialog.addEventListener("pointerdown", (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener("close", () => {
      this.dialog.remove();
      if (back instanceof HTMLElement) back.focus({ preventScroll: true });
    });
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.divider?.focus();
  }
}

/**
 * The frames, the last of them in the size of the result where there is one.
 * @param {Run} run
 * @returns {Frame[]}
 */
function withResult(run) {
  if (!run.result) return run.frames;
  const at = Math.max(0, run.done - 1);
  return [...run.frames.filter((frame) => frame.at !== at), { at, src: run.result }];
}
