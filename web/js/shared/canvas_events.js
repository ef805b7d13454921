/** Lets the canvas zoom and pan while the pointer is over a widget. */

import { app } from "../../../../scripts/app.js";

/**
 * Hands the wheel and the middle button on to the canvas.
 * @param {HTMLElement} element of a widget
 */
export function forwardToCanvas(element) {
  element.addEventListener("wheel", (event) => {
    if (isOnCanvas(element)) app.canvas.processMouseWheel(event);
  });
  for (const type of /** @type {const} */ (["pointerdown", "pointermove", "pointerup"])) {
    element.addEventListener(type, (event) => pan(element, event));
  }
}

/**
 * @param {HTMLElement} element
 * @param {PointerEvent} event
 */
function pan(element, event) {
  const isMiddle = event.type === "pointermove" ? (event.buttons & 4) === 4 : event.button === 1;
  if (!isMiddle || !isOnCanvas(element)) return;
  if (event.type === "pointerdown") app.canvas.processMouseDown(event);
  else if (event.type === "pointermove") app.canvas.processMouseMove(event);
  else app.canvas.processMouseUp(event);
}

/**
 * @param {HTMLElement} element
 * @returns {boolean} false inside a Vue node, which hands these events on by itself
 */
function isOnCanvas(element) {
  return !element.closest("[data-node-id]");
}
