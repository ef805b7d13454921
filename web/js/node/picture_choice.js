/** Which picture of a batch is shown: two arrows, and its number between them. */

import { html, iconButton } from "../shared/dom.js";
import { translator } from "../shared/words.js";

const PREVIOUS = "M10 3l-5 5 5 5";
const NEXT = "M6 3l5 5-5 5";
const t = translator("run");

/** A row of controls; hidden if there is but one picture. */
export class PictureChoice {
  static HEIGHT = 20;
  #label = html("span", { role: "status" });
  #previous = iconButton(t("previousPicture"), PREVIOUS, () => this.#onMove(-1));
  #next = iconButton(t("nextPicture"), NEXT, () => this.#onMove(1));
  element = html("div", { class: "diffuseit-pictures" }, this.#previous, this.#label, this.#next);
  #onMove;

  /** @param {(by: number) => void} onMove called with -1 or 1 */
  constructor(onMove) {
    this.#onMove = onMove;
  }

  /**
   * @param {number} picture that is shown
   * @param {number} shown how many can be shown
   * @param {number} batch how many there are
   */
  show(picture, shown, batch) {
    this.element.hidden = batch < 2 || shown < 1;
    this.#label.textContent = t("pictureOf", { picture: picture + 1, batch });
    this.#previous.disabled = picture <= 0;
    this.#next.disabled = picture >= shown - 1;
  }
}
