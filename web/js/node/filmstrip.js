/** Small images of a run, from the first step to the last. */

import { html } from "../shared/dom.js";
import { translator } from "../shared/words.js";
import { Grid } from "./grid.js";
import { isActive } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Frame} Frame */

const GRID = new Grid({ columnWidth: 44, columnGap: 4, rowGap: 4 });
const t = translator("run");

/** Square buttons in rows that show an image each. */
export class Filmstrip {
  element = html("div", { class: "diffuseit-filmstrip", role: "group", "aria-label": t("frames") });
  #onOpen;
  /** @type {Map<Frame, HTMLButtonElement>} */
  #buttons = new Map();

  /** @param {(frame: Frame) => void} onOpen */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    GRID.applyTo(this.element);
  }

  /**
   * @param {Run} run
   * @param {number} count of images that there are
   * @param {number} width
   * @returns {number} in pixels; a run that goes on needs room for the images to come
   */
  static height(run, count, width) {
    const expected = isActive(run) && !run.isLate ? Math.min(run.frameLimit, run.total) : 0;
    return GRID.height(width, Math.max(expected, count));
  }

  /**
   * @param {Frame[]} frames
   * @param {Frame} [current] the one to mark
   */
  show(frames, current) {
    this.#buttons = new Map(frames.map((frame) => [frame, this.#buttons.get(frame) ?? this.#button(frame)]));
    const buttons = [...this.#buttons.values()];
    const { children } = this.element;
    // Replacing the buttons would take the focus from them.
    if (buttons.length !== children.length || buttons.some((button, i) => children[i] !== button)) {
      this.element.replaceChildren(...buttons);
    }
    for (const [frame, button] of this.#buttons) {
      if (frame === current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  /** @param {Frame} frame */
  focus(frame) {
    this.#buttons.get(frame)?.focus();
  }

  /**
   * @param {Frame} frame
   * @returns {HTMLButtonElement}
   */
  #button(frame) {
    const name = t("enlarge", { step: frame.step + 1 });
    const image = html("img", { src: frame.src, alt: "", draggable: "false" });
    const button = html("button", { type: "button", title: name, "aria-label": name }, image);
    button.addEventListener("click", () => this.#onOpen(frame));
    return button;
  }
}
