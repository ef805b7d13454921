// @ts-check
/** Where a widget lies over the canvas, turning the wheel on it zooms and the middle button pans as beside it. */

import { app } from "../../../../scripts/app.js";

/** @param {HTMLElement} element */
export function passToCanvas(element) {
  element.addEventListener("wheel", (event) => {
    if (liesOverCanvas(element)) app.canvas.processMouseWheel(event);
  });
  for (const kind of /** @type {const} */ (["pointerdown", "pointermove", "pointerup"])) {
    element.addEventListener(kind, (event) => pan(element, event));
  }
}

/**
 * @param {HTMLElement} element
 * @param {PointerEvent} event
 */
function pan(element, event) {
  const middle = event.type === "pointermove" ? (event.buttons & 4) === 4 : event.button === 1;
  if (!middle || !liesOverCanvas(element)) return;
  if (event.type === "pointerdown") app.canvas.processMouseDown(event);
  else if (event.type === "pointermove") app.canvas.processMouseMove(event);
  else app.canvas.processMouseUp(event);
}

/**
 * Vue nodes hand these events on by themselves.
 * @param {HTMLElement} element
 * @returns {boolean}
 */
function liesOverCanvas(element) {
  return !element.closest("[data-node-id]");
}
