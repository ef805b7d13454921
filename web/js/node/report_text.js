/** The text that a node has found, on the node itself. */

import { app } from "../../../../scripts/app.js";
import { forwardToCanvas } from "../shared/canvas_events.js";
import { html } from "../shared/dom.js";
import { mount } from "./mounting.js";

const LINE_HEIGHT = 15;
const CHARACTER_WIDTH = 6.2; // on average, of the font of the text
const MARGIN = 8;
const MOST_LINES = 24;
const LONGEST_TEXT = 20_000;

/** @param {LGraphNode} node a new node whose output has a `text` */
export function showReportText(node) {
  const element = html("div", { class: "diffuseit-node diffuseit-report", "data-widget": "report" });
  let lines = 0;
  element.hidden = true;
  forwardToCanvas(element);
  const widget = node.addDOMWidget("diffuseit_report", "diffuseit_report", element, {
    serialize: false, // in the prompt
    hideInPanel: true,
    margin: MARGIN,
    getMinHeight: () => (lines ? Math.min(lines, MOST_LINES) * LINE_HEIGHT + 2 * MARGIN : 0),
    getMaxHeight: () => (lines ? lines * LINE_HEIGHT + 2 * MARGIN : 0),
  });
  widget.serialize = false; // in the workflow
  const before = node.onExecuted;
  node.onExecuted = function (output) {
    before?.call(this, output);
    const text = readText(output?.text);
    lines = text ? countLines(text, node.size[0] - 4 * MARGIN) : 0;
    element.textContent = text;
    element.hidden = !text;
    mount(node, element);
    const [width, height] = node.computeSize();
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.size[1])]);
    app.graph.setDirtyCanvas(true, true);
  };
}

/**
 * @param {string} text
 * @param {number} width
 * @returns {number} about how many lines the text has when it is wrapped
 */
function countLines(text, width) {
  const perLine = Math.max(20, width / CHARACTER_WIDTH);
  return text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / perLine)), 0);
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function readText(value) {
  if (!Array.isArray(value)) return "";
  return value
    .filter((part) => typeof part === "string")
    .join("\n")
    .slice(0, LONGEST_TEXT);
}
