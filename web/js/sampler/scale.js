// @ts-check
/**
 * The vertical axis of the plot: linear, or logarithmic on both sides of zero.
 *
 * @typedef {object} Scale
 * @property {(value: number) => number} place from 0 at the bottom to 1 at the top
 * @property {number[]} ticks values that get a line
 */

const DECADES = 3;
const TICKS = 4;

/**
 * @param {number[]} values all that has to fit
 * @param {boolean} log
 * @returns {Scale}
 */
export function scaleOf(values, log) {
  const bend = log ? symmetricLog(values) : (/** @type {number} */ value) => value;
  const low = Math.min(...values.map(bend));
  const high = Math.max(...values.map(bend));
  const room = high > low ? 0.06 * (high - low) : Math.abs(high) * 0.1 || 1;
  const bottom = low - room;
  const span = high - low + 2 * room;
  const place = (/** @type {number} */ value) => (bend(value) - bottom) / span;
  const candidates = log ? powers(values) : rounds(Math.min(...values), Math.max(...values));
  return {
    place,
    ticks: spread(
      candidates.filter((tick) => place(tick) >= 0 && place(tick) <= 1),
      place,
    ),
  };
}

/**
 * Logarithmic but for a linear piece around zero: losses may be negative, and zero.
 * @param {number[]} values
 * @returns {(value: number) => number}
 */
function symmetricLog(values) {
  const unit = linearPiece(values);
  return (value) => Math.sign(value) * Math.log10(1 + Math.abs(value) / unit);
}

/**
 * The size below which the logarithmic scale is linear: the smallest value of the lot, within some decades.
 * @param {number[]} values
 * @returns {number}
 */
function linearPiece(values) {
  const sizes = values.map(Math.abs).filter((size) => size > 0);
  if (!sizes.length) return 1;
  return Math.max(Math.min(...sizes), Math.max(...sizes) / 10 ** DECADES);
}

/**
 * Powers of ten on both sides of zero, as far as the scale is logarithmic there.
 * @param {number[]} values
 * @returns {number[]}
 */
function powers(values) {
  const first = Math.ceil(Math.log10(linearPiece(values)) - 1e-9);
  const sizes = Array.from({ length: DECADES + 2 }, (_, i) => 10 ** (first + i));
  return [...sizes.map((size) => -size).reverse(), 0, ...sizes];
}

/**
 * Round numbers between two values.
 * @param {number} low
 * @param {number} high
 * @returns {number[]}
 */
function rounds(low, high) {
  const rough = (high - low) / TICKS;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * Ticks that leave each other room.
 * @param {number[]} ticks upwards
 * @param {(value: number) => number} place
 * @returns {number[]}
 */
function spread(ticks, place) {
  /** @type {number[]} */
  const kept = [];
  const byWorth = [...ticks].sort((a, b) => Number(b === 0) - Number(a === 0) || Math.abs(b) - Math.abs(a));
  for (const tick of byWorth) {
    if (kept.every((other) => Math.abs(place(other) - place(tick)) > 0.16)) kept.push(tick);
  }
  return kept;
}

/**
 * A number as short as a label wants it.
 * @param {number} value
 * @returns {string}
 */
export function label(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 10000)) {
    return value.toExponential(0).replace("+", "");
  }
  return String(Number(value.toPrecision(3)));
}

/**
 * A number as it stands beside a name: three digits, always as many.
 * @param {number | null} value
 * @returns {string}
 */
export function reading(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 10000)) return value.toExponential(1).replace("+", "");
  return size >= 1000 ? String(Math.round(value)) : value.toPrecision(3);
}
