// @ts-check
/** The curves of a run. */

import { set, svg } from "../dom.js";
import { colourOf } from "./colours.js";
import { sumAt } from "./run.js";
import { label, scaleOf } from "./scale.js";
import { say } from "./words.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./scale.js").Scale} Scale */
/** @typedef {{ name: string, colour: string, values: (number | null)[] }} Curve */

export const SUM = "sum";
const GUTTER = 38;
const FOOT = 15;
const TOP = 8;
const RIGHT = 8;

/** An SVG element that draws a run and is read with the pointer or the arrow keys. */
export class Plot {
  /** @param {(position: number | null) => void} onRead told which position of the run's steps is read */
  constructor(onRead) {
    this.onRead = onRead;
    /** @type {Run | null} */
    this.run = null;
    this.log = true;
    /** @type {Set<string>} */
    this.hidden = new Set();
    /** @type {number | null} */
    this.position = null;
    this.width = 0;
    this.height = 0;
    this.element = svg("svg", { class: "diffuseit-plot", role: "slider", tabindex: 0 });
    this.element.addEventListener("pointermove", (event) => this.read(this.positionAt(event)));
    this.element.addEventListener("pointerleave", () => this.read(null));
    this.element.addEventListener("blur", () => this.read(null));
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.observer = new ResizeObserver(() => this.onResize());
    this.observer.observe(this.element);
  }

  /**
   * @param {Run} run
   * @param {boolean} log
   * @param {Set<string>} hidden names of curves that are not drawn
   */
  show(run, log, hidden) {
    this.run = run;
    this.log = log;
    this.hidden = hidden;
    if (this.position !== null && this.position >= run.steps.length) this.position = null;
    this.draw();
  }

  onResize() {
    const { clientWidth, clientHeight } = this.element;
    if (clientWidth === this.width && clientHeight === this.height) return;
    this.width = clientWidth;
    this.height = clientHeight;
    this.draw();
  }

  /** @returns {Curve[]} those to draw; the sum lies below */
  curves() {
    const run = /** @type {Run} */ (this.run);
    const terms = Object.entries(run.series).map(([name, values]) => ({
      name,
      colour: colourOf(name),
      values,
    }));
    const sum = {
      name: SUM,
      colour: "currentColor",
      values: run.steps.map((_, position) => sumAt(run, position)),
    };
    const all = terms.length > 1 ? [sum, ...terms] : terms;
    return all.filter(({ name }) => !this.hidden.has(name));
  }

  draw() {
    if (!this.run || !this.width || !this.height) return;
    const curves = this.curves();
    const values = curves.flatMap((curve) => curve.values).filter((value) => value !== null);
    const scale = scaleOf(values.length ? values : [0, 1], this.log);
    const lines = curves.map((curve) => this.line(curve, scale));
    this.element.replaceChildren(
      ...this.marks(),
      ...this.axes(scale),
      ...lines,
      ...this.cursor(curves, scale),
    );
    this.describe();
  }

  /**
   * @param {number} step
   * @returns {number}
   */
  x(step) {
    const last = Math.max(1, /** @type {Run} */ (this.run).total - 1);
    return GUTTER + (step / last) * (this.width - GUTTER - RIGHT);
  }

  /**
   * @param {number} value
   * @param {Scale} scale
   * @returns {number}
   */
  y(value, scale) {
    return TOP + (1 - scale.place(value)) * (this.height - TOP - FOOT);
  }

  /**
   * @param {Scale} scale
   * @returns {SVGElement[]}
   */
  axes(scale) {
    const rows = scale.ticks.flatMap((tick) => {
      const y = this.y(tick, scale);
      return [
        svg("line", {
          class: tick === 0 ? "zero" : "grid",
          x1: GUTTER,
          x2: this.width - RIGHT,
          y1: y,
          y2: y,
        }),
        svg("text", { class: "tick", x: GUTTER - 5, y: y + 3, "text-anchor": "end" }, label(tick)),
      ];
    });
    const total = /** @type {Run} */ (this.run).total;
    const places = total > 2 ? [1, Math.round((total + 1) / 2), total] : [1, total];
    const columns = [...new Set(places)].map((number) => {
      const anchor = number === 1 ? "start" : number === total ? "end" : "middle";
      return svg(
        "text",
        { class: "tick", x: this.x(number - 1), y: this.height - 3, "text-anchor": anchor },
        `${number}`,
      );
    });
    return [...rows, ...columns];
  }

  /** @returns {SVGElement[]} */
  marks() {
    const run = /** @type {Run} */ (this.run);
    const bottom = this.height - FOOT;
    const half = (this.x(1) - this.x(0)) / 2;
    return run.marks.map(({ at, kind }) => {
      const title = svg("title", {}, say(kind));
      if (kind === "resample") {
        const left = Math.max(GUTTER, this.x(at) - 2 * half);
        const box = { x: left, y: TOP, width: this.x(at) - left, height: bottom - TOP };
        return svg("rect", { class: "mark resample", ...box }, title);
      }
      const x = this.x(at) + (kind === "restart" ? half : -half);
      return svg("path", { class: `mark ${kind}`, d: `M${x} ${TOP}V${bottom}` }, title);
    });
  }

  /**
   * @param {Curve} curve
   * @param {Scale} scale
   * @returns {SVGElement}
   */
  line(curve, scale) {
    const run = /** @type {Run} */ (this.run);
    let pen = "M";
    let d = "";
    let last = null;
    for (const [position, value] of curve.values.entries()) {
      if (value === null) {
        pen = "M";
        continue;
      }
      const point = `${this.x(run.steps[position]).toFixed(1)} ${this.y(value, scale).toFixed(1)}`;
      d += pen + point;
      last = point;
      pen = "L";
    }
    if (d.lastIndexOf("M") === 0 && !d.includes("L")) d += `L${last}`; // one point: a dot, by its round cap
    const kind = curve.name === SUM ? "curve sum" : "curve";
    return svg("path", { class: kind, d, stroke: curve.colour, "data-curve": curve.name });
  }

  /**
   * @param {Curve[]} curves
   * @param {Scale} scale
   * @returns {SVGElement[]}
   */
  cursor(curves, scale) {
    const run = /** @type {Run} */ (this.run);
    const position = this.position;
    if (position === null) return [];
    const x = this.x(run.steps[position]);
    const line = svg("path", { class: "cursor", d: `M${x} ${TOP}V${this.height - FOOT}` });
    const dots = curves.flatMap(({ values, colour }) => {
      const value = values[position];
      return value === null ? [] : [svg("circle", { cx: x, cy: this.y(value, scale), r: 3, fill: colour })];
    });
    return [line, ...dots];
  }

  /** Says in words what is drawn. */
  describe() {
    const run = /** @type {Run} */ (this.run);
    const position = this.position ?? run.steps.length - 1;
    const step = (run.steps[position] ?? -1) + 1;
    set(this.element, {
      "aria-label": say("losses"),
      "aria-valuemin": 1,
      "aria-valuemax": Math.max(1, run.total),
      "aria-valuenow": step,
      "aria-valuetext": this.valueText(position, step),
    });
  }

  /**
   * @param {number} position
   * @param {number} step
   * @returns {string}
   */
  valueText(position, step) {
    const run = /** @type {Run} */ (this.run);
    const values = Object.entries(run.series).flatMap(([name, series]) => {
      const value = series[position];
      return value === null || value === undefined ? [] : [`${name} ${label(value)}`];
    });
    return [say("step", { step, total: run.total }), ...values].join(", ");
  }

  /**
   * @param {PointerEvent} event
   * @returns {number | null}
   */
  positionAt(event) {
    if (!this.run?.steps.length) return null;
    const box = this.element.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this.width; // the canvas may be zoomed
    const distances = this.run.steps.map((step) => Math.abs(this.x(step) - x));
    return distances.indexOf(Math.min(...distances));
  }

  /** @param {number | null} position */
  read(position) {
    if (position === this.position) return;
    this.position = position;
    this.draw();
    this.onRead(position);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const count = this.run?.steps.length ?? 0;
    const now = this.position ?? count - 1;
    /** @type {Record<string, number>} */
    const goals = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: count - 1 };
    if (!count || !(event.key in goals)) return;
    event.preventDefault();
    event.stopPropagation();
    this.read(Math.min(count - 1, Math.max(0, goals[event.key])));
  }

  remove() {
    this.observer.disconnect();
  }
}
