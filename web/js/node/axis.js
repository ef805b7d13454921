/**
 * The vertical axis of the plot: linear, or logarithmic on both sides of zero.
 *
 * @typedef {object} Axis
 * @property {(value: number) => number} position from 0 at the bottom to 1 at the top
 * @property {number[]} ticks values that get a line
 */

const DECADES = 3;
const LINEAR_TICKS = 4;
const PADDING = 0.06;
const TICK_DISTANCE = 0.16;

/**
 * @param {number[]} values that must fit
 * @param {boolean} isLogarithmic
 * @returns {Axis}
 */
export function axisFor(values, isLogarithmic) {
  const [low, high] = extent(values.length ? values : [0, 1]);
  const unit = linearRange(values);
  const scale = isLogarithmic
    ? (/** @type {number} */ value) => Math.sign(value) * Math.log10(1 + Math.abs(value) / unit)
    : (/** @type {number} */ value) => value;
  const length = scale(high) - scale(low);
  const padding = length > 0 ? PADDING * length : Math.abs(scale(high)) * 0.1 || 1;
  const bottom = scale(low) - padding;
  const position = (/** @type {number} */ value) => (scale(value) - bottom) / (length + 2 * padding);
  const candidates = isLogarithmic ? powersOfTen(unit) : roundNumbers(low, high);
  const inside = candidates.filter((tick) => position(tick) >= 0 && position(tick) <= 1);
  return { position, ticks: spaced(inside, position) };
}

/**
 * @param {number[]} values at least one; there may be too many for `Math.min(...values)`
 * @returns {[number, number]}
 */
function extent(values) {
  let [low, high] = [values[0], values[0]];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/**
 * @param {number[]} values
 * @returns {number} below this size the logarithmic scale is linear, so that zero and negative losses have a place: the
 * smallest size of all, but no more than some decades below the largest
 */
function linearRange(values) {
  const sizes = values.map(Math.abs).filter((size) => size > 0);
  if (!sizes.length) return 1;
  const [smallest, largest] = extent(sizes);
  return Math.max(smallest, largest / 10 ** DECADES);
}

/**
 * @param {number} unit where the scale begins to be logarithmic
 * @returns {number[]} powers of ten on both sides of zero, upwards
 */
function powersOfTen(unit) {
  const first = Math.ceil(Math.log10(unit) - 1e-9);
  const sizes = Array.from({ length: DECADES + 2 }, (_, i) => 10 ** (first + i));
  return [...sizes.map((size) => -size).reverse(), 0, ...sizes];
}

/**
 * @param {number} low
 * @param {number} high
 * @returns {number[]} round numbers from one to the other, upwards
 */
function roundNumbers(low, high) {
  const distance = (high - low) / LINEAR_TICKS;
  const power = 10 ** Math.floor(Math.log10(distance));
  const step = ([1, 2, 5].find((factor) => factor * power >= distance) ?? 10) * power;
  if (!(step > 0)) return [low];
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/**
 * @param {number[]} ticks
 * @param {(value: number) => number} position
 * @returns {number[]} those that leave each other room; zero and large ones take precedence
 */
function spaced(ticks, position) {
  /** @type {number[]} */
  const kept = [];
  const byRank = [...ticks].sort((a, b) => Number(b === 0) - Number(a === 0) || Math.abs(b) - Math.abs(a));
  for (const tick of byRank) {
    if (kept.every((other) => Math.abs(position(other) - position(tick)) > TICK_DISTANCE)) kept.push(tick);
  }
  return kept;
}
