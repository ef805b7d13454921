/** Puts the latent pocket models where ComfyUI's own loaders list them. */

import { html } from "../shared/dom.js";
import { translator } from "../shared/words.js";
import { catalog, messageOf } from "../shared/catalog.js";

const t = translator("sidebar");

/** What the files are for, and the button that copies them. */
export class PocketFiles {
  #state = html("p", { class: "diffuseit-state", role: "status", tabindex: -1 });
  #button = html("button", { type: "button", class: "diffuseit-button" }, t("files.put"));
  #error = html("p", { class: "diffuseit-error", role: "alert", hidden: true });
  root = html(
    "div",
    { class: "diffuseit-row", "data-files": "pocket" },
    html(
      "p",
      { class: "diffuseit-about" },
      t("files.about", { files: catalog.listing.pocket.files.join(", ") }),
    ),
    html("div", { class: "diffuseit-foot" }, this.#state, this.#button),
    this.#error,
  );

  constructor() {
    this.#button.addEventListener("click", () => void this.#put());
    this.update();
  }

  /** Shows whether the files are there. */
  update() {
    const { present } = catalog.listing.pocket;
    this.root.dataset.state = present ? "present" : "missing";
    this.#state.textContent = present ? t("files.present") : "";
    const isFocused = this.#button === document.activeElement;
    this.#button.hidden = present;
    if (isFocused && present) this.#state.focus();
  }

  async #put() {
    this.#error.hidden = true;
    try {
      await catalog.putPocketFiles();
    } catch (reason) {
      this.#error.textContent = t("failed", { error: messageOf(reason) });
      this.#error.hidden = false;
    }
  }
}
