// @ts-check
// Where nodes go: in columns inside their group, and the group where there is room. Numbers only, no canvas.

/**
 * @typedef {[number, number]} Point
 * @typedef {{x: number, y: number, width: number, height: number}} Box
 */

export const TITLE = 30; // a node's title lies above its position
const GROUP_TITLE = 40;
const PADDING = 20;
const COLUMN_GAP = 60;
const ROW_GAP = 25;

/**
 * Columns of nodes, given by their sizes, under a group's title: where each node goes, from the group's corner, and how
 * large the group is.
 * @param {Point[][]} columns
 * @returns {{places: Point[][], width: number, height: number}}
 */
export function tidy(columns) {
  /** @type {Point[][]} */
  const places = [];
  let x = PADDING;
  let height = 0;
  for (const sizes of columns) {
    let y = GROUP_TITLE;
    const column = sizes.map(([, tall]) => {
      /** @type {Point} */
      const place = [x, y + TITLE];
      y += TITLE + tall + ROW_GAP;
      return place;
    });
    places.push(column);
    height = Math.max(height, y - ROW_GAP + PADDING);
    x += Math.max(...sizes.map(([wide]) => wide)) + COLUMN_GAP;
  }
  return { places, width: x - COLUMN_GAP + PADDING, height };
}

/**
 * @param {Box} a
 * @param {Box} b
 * @param {number} gap
 */
function touch(a, b, gap) {
  return (
    a.x < b.x + b.width + gap && b.x < a.x + a.width + gap && a.y < b.y + b.height + gap && b.y < a.y + a.height + gap
  );
}

/**
 * The place nearest to `centre` where a box of this size touches none of the others.
 * @param {{width: number, height: number}} size
 * @param {Point} centre
 * @param {Box[]} others
 * @param {number} gap between the boxes
 * @returns {Point} its upper left corner
 */
export function freePlace(size, centre, others, gap = 40) {
  const middle = { x: centre[0] - size.width / 2, y: centre[1] - size.height / 2 };
  // The nearest free place is in the middle, or lies against the sides of other boxes.
  const across = [middle.x, ...others.flatMap((box) => [box.x - size.width - gap, box.x + box.width + gap])];
  const down = [middle.y, ...others.flatMap((box) => [box.y - size.height - gap, box.y + box.height + gap])];
  const corners = across.flatMap((x) => down.map((y) => ({ x, y, far: Math.hypot(x - middle.x, y - middle.y) })));
  corners.sort((a, b) => a.far - b.far);
  const free = corners.find(({ x, y }) => !others.some((box) => touch({ x, y, ...size }, box, gap)));
  return free ? [free.x, free.y] : [middle.x, middle.y];
}
