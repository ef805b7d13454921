// @ts-check
/** The names of the curves with their values; a click takes a curve out of the plot or brings it back. */

import { html } from "../dom.js";
import { colourOf } from "./colours.js";
import { SUM } from "./plot.js";
import { sumAt } from "./run.js";
import { reading } from "./scale.js";
import { say, termName } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {{ button: HTMLButtonElement, value: HTMLElement }} Entry */

/** A row of buttons, one for each curve. */
export class Legend {
  /** @param {(name: string) => void} onToggle */
  constructor(onToggle) {
    this.onToggle = onToggle;
    this.element = html("div", { class: "diffuseit-legend" });
    /** @type {Map<string, Entry>} */
    this.entries = new Map();
  }

  /**
   * @param {Run} run
   * @param {number | null} position whose values are shown; null: the last of each curve
   * @param {Set<string>} hidden
   */
  show(run, position, hidden) {
    const terms = Object.keys(run.series);
    const names = terms.length > 1 ? [...terms, SUM] : terms;
    if ([...this.entries.keys()].join() !== names.join()) this.rebuild(names);
    for (const [name, { button, value }] of this.entries) {
      value.textContent = reading(valueOf(run, name, position));
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
    }
  }

  /** @param {string[]} names */
  rebuild(names) {
    this.entries = new Map(names.map((name) => [name, this.entry(name)]));
    this.element.replaceChildren(...[...this.entries.values()].map(({ button }) => button));
  }

  /**
   * @param {string} name
   * @returns {Entry}
   */
  entry(name) {
    const shown = name === SUM ? say("sum") : termName(name);
    const swatch = html("span", { class: "swatch" });
    swatch.style.background = name === SUM ? "currentColor" : colourOf(name);
    const value = html("span", { class: "value" });
    const title = say("toggle", { name: shown });
    const words = html("span", { class: "name" }, shown);
    const button = html("button", { type: "button", title, "data-curve": name }, swatch, words, value);
    button.addEventListener("click", () => this.onToggle(name));
    return { button, value };
  }
}

/**
 * @param {Run} run
 * @param {string} name
 * @param {number | null} position
 * @returns {number | null}
 */
function valueOf(run, name, position) {
  const at = (/** @type {number} */ where) =>
    name === SUM ? sumAt(run, where) : (run.series[name][where] ?? null);
  if (position !== null) return at(position);
  for (let where = run.steps.length - 1; where >= 0; where--) {
    const value = at(where);
    if (value !== null) return value;
  }
  return null;
}
