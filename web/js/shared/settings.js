/** The pack's entries in ComfyUI's settings. Their translations are in locales/<language>/settings.json. */

import { app } from "../../../../scripts/app.js";

const SHOW = "DiffuseIT.Live.Show";
const LOG_SCALE = "DiffuseIT.Live.LogScale";
const THROTTLE = "DiffuseIT.Live.Throttle"; // nodes/live.py reads it
const MARKS = "DiffuseIT.Marks.Save"; // nodes/save_signed.py reads it

/** @type {Set<() => void>} */
const listeners = new Set();

/** Calls the listeners. ComfyUI calls this just before it stores the new value, hence the timeout. */
function notify() {
  setTimeout(() => listeners.forEach((listener) => listener()));
}

/**
 * @param {() => void} listener called after each change of a setting
 * @returns {() => void} removes the listener
 */
export function onSettingsChange(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** For `app.registerExtension`. ComfyUI shows the last entry first. */
export const SETTINGS = [
  {
    id: MARKS,
    category: ["DiffuseIT", "Saved images", "Marks"],
    name: "Marks in saved images",
    tooltip:
      "Off: DiffuseIT Save Signed Image writes no mark and no signature, whatever its widgets say. The workflow stays.",
    type: "boolean",
    defaultValue: true,
  },
  {
    id: THROTTLE,
    category: ["DiffuseIT", "Runs", "Throttle"],
    name: "Milliseconds between updates",
    tooltip: "How often a running sampler reports to the page; 0: automatic. Takes effect with the next run.",
    type: "number",
    defaultValue: 0,
    attrs: { min: 0, max: 5000, step: 50 },
  },
  {
    id: LOG_SCALE,
    category: ["DiffuseIT", "Runs", "LogScale"],
    name: "Curves on a logarithmic scale",
    tooltip: "The initial scale of each sampler's plot. A button on the sampler changes it.",
    type: "boolean",
    defaultValue: true,
    onChange: notify,
  },
  {
    id: SHOW,
    category: ["DiffuseIT", "Runs", "Show"],
    name: "Show runs on the nodes",
    tooltip: "Show curves, images and the estimate on samplers, and the share of each loss on its node.",
    type: "boolean",
    defaultValue: true,
    onChange: notify,
  },
];

/**
 * @param {string} id
 * @returns {boolean}
 */
function isOn(id) {
  return Boolean(app.extensionManager.setting.get(id) ?? true);
}

/** @returns {boolean} whether nodes show runs */
export function showsRuns() {
  return isOn(SHOW);
}

/** @returns {boolean} whether plots start with a logarithmic scale */
export function startsLogarithmic() {
  return isOn(LOG_SCALE);
}
