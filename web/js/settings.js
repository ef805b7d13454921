// @ts-check
/** What a person can choose in ComfyUI's settings; its words in other languages are in locales/<language>/settings.json. */

import { app } from "../../../scripts/app.js";

export const SHOW = "DiffuseIT.Live.Show";
export const LOG = "DiffuseIT.Live.LogScale";
export const THROTTLE = "DiffuseIT.Live.Throttle";

/** @type {Set<() => void>} */
const listeners = new Set();

/** Tells those who want to know that a setting is another now; ComfyUI calls this a moment before it is. */
function changed() {
  setTimeout(() => listeners.forEach((listener) => listener()));
}

/**
 * @param {() => void} listener called after each change of a setting
 * @returns {() => void} what ends that
 */
export function onSettings(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** For `app.registerExtension`. Those last in the list are shown first. */
export const SETTINGS = [
  {
    id: THROTTLE,
    category: ["DiffuseIT", "Runs", "Throttle"],
    name: "Milliseconds between updates",
    tooltip: "How often a running sampler tells what it does. Up: less traffic. From the next run on.",
    type: "number",
    defaultValue: 150,
    attrs: { min: 50, max: 5000, step: 50 },
  },
  {
    id: LOG,
    category: ["DiffuseIT", "Runs", "LogScale"],
    name: "Curves on a logarithmic scale",
    tooltip: "What a sampler begins with; a button on it changes it there.",
    type: "boolean",
    defaultValue: true,
    onChange: changed,
  },
  {
    id: SHOW,
    category: ["DiffuseIT", "Runs", "Show"],
    name: "Show runs on the nodes",
    tooltip: "Curves, pictures and the estimate on the sampler, and each loss's share on its node.",
    type: "boolean",
    defaultValue: true,
    onChange: changed,
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

/** @returns {boolean} whether curves begin on a logarithmic scale */
export function beginsLogarithmic() {
  return isOn(LOG);
}
