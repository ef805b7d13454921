/** The height of an element whose text wraps, because ComfyUI asks for the height of a widget before it draws it. */

/** Knows the height from when the element was last drawn. */
export class MeasuredHeight {
  #element;
  #height;
  #observer;

  /**
   * @param {HTMLElement} element
   * @param {number} guess pixels, until it is drawn for the first time
   * @param {() => void} onChange called when the height has changed
   */
  constructor(element, guess, onChange) {
    this.#element = element;
    this.#height = guess;
    this.#observer = new ResizeObserver(() => {
      const { offsetHeight } = element;
      // An element that is not on the screen has no height.
      if (!offsetHeight || offsetHeight === this.#height) return;
      this.#height = offsetHeight;
      onChange();
    });
    this.#observer.observe(element);
  }

  /** @returns {number} in pixels; 0 for a hidden element */
  get height() {
    return this.#element.hidden ? 0 : this.#height;
  }

  remove() {
    this.#observer.disconnect();
  }
}
