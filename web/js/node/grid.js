/** A CSS grid whose height is known before the browser lays it out, because ComfyUI asks for it earlier. */

/** A grid of as many equal columns as have room. */
export class Grid {
  #columnWidth;
  #columnGap;
  #rowGap;

  /** @param {{ columnWidth: number, columnGap: number, rowGap: number }} sizes in pixels; the least width of a column */
  constructor({ columnWidth, columnGap, rowGap }) {
    this.#columnWidth = columnWidth;
    this.#columnGap = columnGap;
    this.#rowGap = rowGap;
  }

  /** @param {HTMLElement} element */
  applyTo(element) {
    element.classList.add("diffuseit-grid");
    element.style.setProperty("--column", `${this.#columnWidth}px`);
    element.style.gap = `${this.#rowGap}px ${this.#columnGap}px`;
  }

  /**
   * @param {number} width of the grid
   * @param {number} count of items
   * @param {number} [rowHeight] that of square items by default
   * @returns {number} the height of the grid
   */
  height(width, count, rowHeight) {
    const columns = Math.max(
      1,
      Math.floor((width + this.#columnGap) / (this.#columnWidth + this.#columnGap)),
    );
    const square = (width + this.#columnGap) / columns - this.#columnGap;
    return Math.ceil(count / columns) * ((rowHeight ?? square) + this.#rowGap) - this.#rowGap;
  }
}
