/** The curves of a run. */

import { setAttributes, svg } from "../shared/dom.js";
import { formatTick } from "../shared/format.js";
import { translate, translator } from "../shared/words.js";
import { axisFor } from "./axis.js";
import { computedTerms, sumAt } from "./run.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./axis.js").Axis} Axis */
/** @typedef {{ name: string, color: string | null, values: (number | null)[] }} Curve color: null for the text's */

export const SUM = "sum";
export const MIN_HEIGHT = 120;
export const MAX_HEIGHT = 240;
const LEFT = 38;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 15;
const t = translator("run");

/** An SVG element that draws a run. The pointer or the arrow keys select a step to read the values of. */
export class Plot {
  element = svg("svg", { class: "diffuseit-plot", role: "slider", tabindex: 0 });
  #onSelect;
  /** @type {Run | null} */
  #run = null;
  #isLogarithmic = true;
  /** @type {Set<string>} */
  #hidden = new Set();
  /** @type {number | null} */
  #selected = null;
  #width = 0;
  #height = 0;
  #observer = new ResizeObserver(() => this.#onResize());

  /** @param {() => void} onSelect called when another step is selected */
  constructor(onSelect) {
    this.#onSelect = onSelect;
    this.element.style.minHeight = `${MIN_HEIGHT}px`;
    this.element.style.maxHeight = `${MAX_HEIGHT}px`;
    this.element.addEventListener("pointermove", (event) => this.#select(this.#positionAt(event)));
    this.element.addEventListener("pointerleave", () => this.#select(null));
    this.element.addEventListener("blur", () => this.#select(null));
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.#observer.observe(this.element);
  }

  /** @returns {number | null} the position of the selected step in the run's steps */
  get selected() {
    return this.#selected;
  }

  /**
   * @param {Run} run
   * @param {boolean} isLogarithmic
   * @param {Set<string>} hidden names of curves that are not drawn
   */
  show(run, isLogarithmic, hidden) {
    this.#run = run;
    this.#isLogarithmic = isLogarithmic;
    this.#hidden = hidden;
    if (this.#selected !== null && this.#selected >= run.steps.length) this.#selected = null;
    this.#draw();
  }

  #onResize() {
    const { clientWidth, clientHeight } = this.element;
    if (clientWidth === this.#width && clientHeight === this.#height) return;
    this.#width = clientWidth;
    this.#height = clientHeight;
    this.#draw();
  }

  #draw() {
    const run = this.#run;
    if (!run || !this.#width || !this.#height) return;
    const curves = this.#curves(run);
    const values = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
    const axis = axisFor(values, this.#isLogarithmic);
    this.element.replaceChildren(
      ...this.#marks(run),
      ...this.#ticks(run, axis),
      ...curves.map((curve) => this.#line(run, curve, axis)),
      ...this.#cursor(run, curves, axis),
    );
    this.#describe(run);
  }

  /**
   * @param {Run} run
   * @returns {Curve[]} those to draw, the sum below the others
   */
  #curves(run) {
    const terms = computedTerms(run).map(([name, { color, values }]) => ({ name, color, values }));
    const sum = { name: SUM, color: null, values: run.steps.map((_, position) => sumAt(run, position)) };
    const all = terms.length > 1 ? [sum, ...terms] : terms;
    return all.filter(({ name }) => !this.#hidden.has(name));
  }

  /**
   * @param {Run} run
   * @param {number} step
   * @returns {number} in pixels from the left
   */
  #x(run, step) {
    return LEFT + (step / Math.max(1, run.total - 1)) * (this.#width - LEFT - RIGHT);
  }

  /**
   * @param {Axis} axis
   * @param {number} value
   * @returns {number} in pixels from the top
   */
  #y(axis, value) {
    return TOP + (1 - axis.position(value)) * (this.#height - TOP - BOTTOM);
  }

  /**
   * @param {Run} run
   * @param {Axis} axis
   * @returns {SVGElement[]} grid lines and the labels of both axes
   */
  #ticks(run, axis) {
    const rows = axis.ticks.flatMap((tick) => {
      const y = this.#y(axis, tick);
      const line = { class: tick === 0 ? "zero" : "grid", x1: LEFT, x2: this.#width - RIGHT, y1: y, y2: y };
      const label = { class: "tick", x: LEFT - 5, y: y + 3, "text-anchor": "end" };
      return [svg("line", line), svg("text", label, formatTick(tick))];
    });
    const { total } = run;
    const steps = total > 2 ? [1, Math.round((total + 1) / 2), total] : [1, total];
    const columns = [...new Set(steps)].map((step) => {
      const anchor = step === 1 ? "start" : step === total ? "end" : "middle";
      const label = { class: "tick", x: this.#x(run, step - 1), y: this.#height - 3, "text-anchor": anchor };
      return svg("text", label, `${step}`);
    });
    return [...rows, ...columns];
  }

  /**
   * @param {Run} run
   * @returns {SVGElement[]} what happened at some of the steps
   */
  #marks(run) {
    const bottom = this.#height - BOTTOM;
    const half = (this.#x(run, 1) - this.#x(run, 0)) / 2;
    return run.marks.map(({ step, kind }) => {
      const title = svg("title", {}, t(kind));
      const x = this.#x(run, step);
      if (kind === "resample") {
        const left = Math.max(LEFT, x - 2 * half);
        const box = { x: left, y: TOP, width: Math.max(0, x - left), height: bottom - TOP };
        return svg("rect", { class: "mark resample", ...box }, title);
      }
      const between = kind === "restart" ? x + half : x - half;
      return svg("path", { class: `mark ${kind}`, d: `M${between} ${TOP}V${bottom}` }, title);
    });
  }

  /**
   * @param {Run} run
   * @param {Curve} curve
   * @param {Axis} axis
   * @returns {SVGElement}
   */
  #line(run, curve, axis) {
    let path = "";
    let isConnected = false;
    for (const [position, value] of curve.values.entries()) {
      if (value !== null) {
        const point = `${this.#x(run, run.steps[position]).toFixed(1)} ${this.#y(axis, value).toFixed(1)}`;
        // The line of no length gives a single point the round cap of a dot.
        path += isConnected ? `L${point}` : `M${point}h0`;
      }
      isConnected = value !== null;
    }
    const line = svg("path", {
      class: curve.name === SUM ? "curve sum" : "curve",
      d: path,
      "data-curve": curve.name,
    });
    if (curve.color) line.style.setProperty("--term", curve.color);
    return line;
  }

  /**
   * @param {Run} run
   * @param {Curve[]} curves
   * @param {Axis} axis
   * @returns {SVGElement[]} a line at the selected step, and a dot on each curve
   */
  #cursor(run, curves, axis) {
    const position = this.#selected;
    if (position === null) return [];
    const x = this.#x(run, run.steps[position]);
    const dots = curves.flatMap(({ values, color }) => {
      const value = values[position];
      if (value === null) return [];
      const dot = svg("circle", { class: "dot", cx: x, cy: this.#y(axis, value), r: 3 });
      if (color) dot.style.setProperty("--term", color);
      return [dot];
    });
    return [svg("path", { class: "cursor", d: `M${x} ${TOP}V${this.#height - BOTTOM}` }), ...dots];
  }

  /**
   * Tells screen readers what is drawn.
   * @param {Run} run
   */
  #describe(run) {
    const position = this.#selected ?? run.steps.length - 1;
    const step = (run.steps[position] ?? -1) + 1;
    const values = computedTerms(run).flatMap(([name, term]) => {
      const value = term.values[position] ?? null;
      return value === null ? [] : [`${translate("terms", name, term.label)} ${formatTick(value)}`];
    });
    setAttributes(this.element, {
      "aria-label": t("losses"),
      "aria-valuemin": 1,
      "aria-valuemax": Math.max(1, run.total),
      "aria-valuenow": step,
      "aria-valuetext": [t("step", { step, total: run.total }), ...values].join(", "),
    });
  }

  /**
   * @param {PointerEvent} event
   * @returns {number | null} the position of the step nearest to the pointer
   */
  #positionAt(event) {
    const run = this.#run;
    if (!run) return null;
    const box = this.element.getBoundingClientRect();
    // The canvas may be zoomed, so that a pixel of the plot is not one of the screen.
    const x = ((event.clientX - box.left) / box.width) * this.#width;
    const distance = (/** @type {number} */ position) => Math.abs(this.#x(run, run.steps[position]) - x);
    const positions = [...run.steps.keys()];
    if (!positions.length) return null;
    return positions.reduce((best, position) => (distance(position) < distance(best) ? position : best));
  }

  /** @param {number | null} position */
  #select(position) {
    if (position === this.#selected) return;
    this.#selected = position;
    this.#draw();
    this.#onSelect();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const last = (this.#run?.steps.length ?? 0) - 1;
    const current = this.#selected ?? last;
    const goals = new Map([
      ["ArrowLeft", current - 1],
      ["ArrowRight", current + 1],
      ["Home", 0],
      ["End", last],
    ]);
    const goal = goals.get(event.key);
    if (last < 0 || goal === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.#select(Math.min(last, Math.max(0, goal)));
  }

  remove() {
    this.#observer.disconnect();
  }
}
