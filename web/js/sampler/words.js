// @ts-check
/** What the nodes say of a run. */

import { locale, speak } from "../words.js";

export const say = speak("run");
const nameTerm = speak("terms");

/**
 * What the term of a loss is called.
 * @param {string} term
 * @returns {string}
 */
export function termName(term) {
  const name = nameTerm(term);
  return name === term ? term.replaceAll("_", " ") : name;
}

/**
 * @param {number} seconds
 * @returns {string}
 */
export function duration(seconds) {
  const unit = (/** @type {number} */ value, /** @type {string} */ name) =>
    new Intl.NumberFormat(locale(), {
      style: "unit",
      unit: name,
      unitDisplay: "short",
      maximumSignificantDigits: 2,
    }).format(value);
  if (seconds < 0.995) return unit(Math.max(1, seconds * 1000), "millisecond");
  if (seconds < 90) return unit(seconds, "second");
  return seconds < 5400 ? unit(seconds / 60, "minute") : unit(seconds / 3600, "hour");
}

/**
 * @param {number} bytes
 * @returns {string}
 */
export function size(bytes) {
  const [value, unit] = bytes < 2 ** 30 ? [bytes / 2 ** 20, "MB"] : [bytes / 2 ** 30, "GB"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
