/** Where inserted nodes go: in columns inside a group, and the group where there is room. */

/**
 * @typedef {[number, number]} Pair x and y, or width and height
 * @typedef {{ x: number, y: number, width: number, height: number }} Box
 */

/** The height of a node's title, which is above its position. */
export const NODE_TITLE = 30;

const GROUP_TITLE = 40;
const PADDING = 20;
const COLUMN_GAP = 60;
const ROW_GAP = 25;
const GROUP_GAP = 40;

/**
 * Arranges columns of nodes under the title of a group.
 * @param {Pair[][]} columns the sizes of the nodes
 * @returns {{ positions: Pair[][], width: number, height: number }} the positions of the nodes relative to the group,
 * and the size of the group
 */
export function arrange(columns) {
  /** @type {Pair[][]} */
  const positions = [];
  let x = PADDING;
  let height = 0;
  for (const sizes of columns) {
    let y = GROUP_TITLE;
    /** @type {Pair[]} */
    const column = [];
    for (const [, nodeHeight] of sizes) {
      column.push([x, y + NODE_TITLE]);
      y += NODE_TITLE + nodeHeight + ROW_GAP;
    }
    positions.push(column);
    height = Math.max(height, y - ROW_GAP + PADDING);
    x += Math.max(...sizes.map(([width]) => width)) + COLUMN_GAP;
  }
  return { positions, width: x - COLUMN_GAP + PADDING, height };
}

/**
 * @param {Pair} size of a box
 * @param {Pair} center
 * @param {Box[]} others
 * @returns {Pair} the upper left corner of the free place nearest to `center`
 */
export function findFreePlace([width, height], [centerX, centerY], others) {
  const middle = { x: centerX - width / 2, y: centerY - height / 2 };
  // The nearest free place is in the middle, or beside other boxes.
  const xs = [
    middle.x,
    ...others.flatMap((box) => [box.x - width - GROUP_GAP, box.x + box.width + GROUP_GAP]),
  ];
  const ys = [
    middle.y,
    ...others.flatMap((box) => [box.y - height - GROUP_GAP, box.y + box.height + GROUP_GAP]),
  ];
  const distance = (/** @type {{ x: number, y: number }} */ corner) =>
    Math.hypot(corner.x - middle.x, corner.y - middle.y);
  const corners = xs.flatMap((x) => ys.map((y) => ({ x, y }))).sort((a, b) => distance(a) - distance(b));
  const isFree = (/** @type {{ x: number, y: number }} */ corner) =>
    !others.some((box) => areClose({ ...corner, width, height }, box));
  const { x, y } = corners.find(isFree) ?? middle;
  return [x, y];
}

/**
 * @param {Box} a
 * @param {Box} b
 * @returns {boolean} whether they overlap or the gap between them is too small
 */
function areClose(a, b) {
  return (
    a.x < b.x + b.width + GROUP_GAP &&
    b.x < a.x + a.width + GROUP_GAP &&
    a.y < b.y + b.height + GROUP_GAP &&
    b.y < a.y + a.height + GROUP_GAP
  );
}
