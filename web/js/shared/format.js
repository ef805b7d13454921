/** Numbers as people read them. */

import { language } from "./words.js";

/**
 * @param {number} seconds
 * @returns {string}
 */
export function formatDuration(seconds) {
  if (seconds < 0.995) return inUnit(Math.max(1, seconds * 1000), "millisecond");
  if (seconds < 90) return inUnit(seconds, "second");
  return seconds < 5400 ? inUnit(seconds / 60, "minute") : inUnit(seconds / 3600, "hour");
}

/**
 * @param {number} value
 * @param {string} unit
 * @returns {string}
 */
function inUnit(value, unit) {
  const style = /** @type {const} */ ({ style: "unit", unitDisplay: "short", maximumSignificantDigits: 2 });
  return new Intl.NumberFormat(language(), { ...style, unit }).format(value);
}

/**
 * @param {number} bytes
 * @returns {string} in decimal units, as the server writes sizes
 */
export function formatBytes(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;
}

/**
 * @param {number} value
 * @returns {string} as short as a tick label must be
 */
export function formatTick(value) {
  return isExtreme(value) ? exponential(value, 0) : String(Number(value.toPrecision(3)));
}

/**
 * @param {number | null} value
 * @returns {string} always three digits, so that a changing value keeps its width; a dash for null
 */
export function formatValue(value) {
  if (value === null) return "–";
  if (isExtreme(value)) return exponential(value, 1);
  return Math.abs(value) >= 1000 ? String(Math.round(value)) : value.toPrecision(3);
}

/**
 * @param {number} value
 * @returns {boolean} whether it is written with an exponent
 */
function isExtreme(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 0.001 || size >= 10000);
}

/**
 * @param {number} value
 * @param {number} digits after the point
 * @returns {string}
 */
function exponential(value, digits) {
  return value.toExponential(digits).replace("+", "");
}
