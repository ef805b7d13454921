// @ts-check
/** Small pictures of the run, from the first step to the last. */

import { html } from "../dom.js";
import { say } from "./words.js";

/** @typedef {import("./run.js").Frame} Frame */

/** A strip of buttons with pictures on them. */
export class Film {
  /** @param {(frame: Frame) => void} onOpen */
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.element = html("div", { class: "diffuseit-film", role: "group", "aria-label": say("frames") });
    /** @type {Map<Frame, HTMLButtonElement>} */
    this.buttons = new Map();
  }

  /**
   * @param {Frame[]} frames
   * @param {Frame} [chosen]
   */
  show(frames, chosen) {
    this.buttons = new Map(frames.map((frame) => [frame, this.buttons.get(frame) ?? this.button(frame)]));
    const buttons = [...this.buttons.values()];
    const same = buttons.length === this.element.children.length;
    if (!same || buttons.some((button, i) => this.element.children[i] !== button)) {
      this.element.replaceChildren(...buttons);
    }
    for (const [frame, button] of this.buttons) {
      if (frame === chosen) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  /**
   * @param {Frame} frame
   * @returns {HTMLButtonElement}
   */
  button(frame) {
    const name = say("enlarge", { step: frame.at + 1 });
    const image = html("img", { src: frame.src, alt: "", draggable: "false" });
    const button = html("button", { type: "button", title: name, "aria-label": name }, image);
    button.addEventListener("click", () => this.onOpen(frame));
    return button;
  }
}
