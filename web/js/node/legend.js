/** The names and values of the curves. A click hides or shows a curve. */

import { html } from "../shared/dom.js";
import { formatValue } from "../shared/format.js";
import { translate, translator } from "../shared/words.js";
import { Grid } from "./grid.js";
import { SUM } from "./plot.js";
import { computedTerms, sumAt } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Term} Term */
/** @typedef {{ button: HTMLButtonElement, value: HTMLElement }} Entry */

const ROW_HEIGHT = 16;
const GRID = new Grid({ columnWidth: 132, columnGap: 12, rowGap: 1 });
const t = translator("run");

/** Buttons in rows, one for each curve. */
export class Legend {
  element = html("div", { class: "diffuseit-legend" });
  #onToggle;
  /** @type {Map<string, Entry>} by the name of the curve */
  #entries = new Map();

  /** @param {(name: string) => void} onToggle */
  constructor(onToggle) {
    this.#onToggle = onToggle;
    GRID.applyTo(this.element);
    this.element.style.gridAutoRows = `${ROW_HEIGHT}px`;
  }

  /**
   * @param {Run} run
   * @param {number} width
   * @returns {number} in pixels
   */
  static height(run, width) {
    const terms = computedTerms(run).length;
    return GRID.height(width, terms > 1 ? terms + 1 : terms, ROW_HEIGHT);
  }

  /**
   * @param {Run} run
   * @param {number | null} position in the run's steps whose values are shown; null: the last value of each curve
   * @param {Set<string>} hidden names of curves
   */
  show(run, position, hidden) {
    const terms = computedTerms(run);
    const names = terms.map(([name]) => name);
    if (names.length > 1) names.push(SUM);
    if ([...this.#entries.keys()].join() !== names.join()) this.#rebuild(terms);
    for (const [name, { button, value }] of this.#entries) {
      value.textContent = formatValue(valueOf(run, name, position));
      button.setAttribute("aria-pressed", String(!hidden.has(name)));
    }
  }

  /** @param {[string, Term][]} terms */
  #rebuild(terms) {
    this.#entries = new Map(
      terms.map(([name, { label, color }]) => [
        name,
        this.#entry(name, translate("terms", name, label), color),
      ]),
    );
    if (terms.length > 1) this.#entries.set(SUM, this.#entry(SUM, t("sum"), null));
    this.element.replaceChildren(...[...this.#entries.values()].map(({ button }) => button));
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {string | null} color null: that of the text
   * @returns {Entry}
   */
  #entry(name, label, color) {
    const swatch = html("span", { class: "swatch" });
    if (color) swatch.style.setProperty("--term", color);
    const value = html("span", { class: "value" });
    const button = html(
      "button",
      { type: "button", title: t("toggle", { name: label }), "data-curve": name },
      swatch,
      html("span", { class: "name" }, label),
      value,
    );
    button.addEventListener("click", () => this.#onToggle(name));
    return { button, value };
  }
}

/**
 * @param {Run} run
 * @param {string} name of a curve
 * @param {number | null} position
 * @returns {number | null}
 */
function valueOf(run, name, position) {
  const valueAt = (/** @type {number} */ place) =>
    name === SUM ? sumAt(run, place) : (run.terms.get(name)?.values[place] ?? null);
  if (position !== null) return valueAt(position);
  for (let place = run.steps.length - 1; place >= 0; place--) {
    const value = valueAt(place);
    if (value !== null) return value;
  }
  return null;
}
