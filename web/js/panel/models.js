// @ts-check
// The models of the catalogue: sets to fetch at once, then each one, by kind.
import { html } from "../dom.js";
import { catalogued } from "../words.js";
import { catalogue, size } from "./catalogue.js";
import { download, missing } from "./download.js";
import { Row } from "./row.js";

/** @typedef {import("./catalogue.js").Bundle} Bundle */
/** @typedef {import("../words.js").Say} Say */

const KINDS = /** @type {const} */ (["ddpm", "vit", "clip"]);

export class Models {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {(() => void)[]} */
  #counts = [];

  /** @param {Say} say */
  constructor(say) {
    this.say = say;
    const builtIn = html("p", { class: "diffuseit-built-in" });
    builtIn.append(html("strong", {}, say("pocket")), " ", say("pocket.about"));
    this.root = html("div", {}, builtIn);
    this.root.append(this.#group(say("sets"), this.#sets(), () => ""));
    for (const kind of KINDS) this.root.append(this.#kind(kind));
    this.update();
  }

  /** After the listing or a job changed. */
  update() {
    for (const model of catalogue.listing.models) this.#rows.get(model.name)?.update(model);
    for (const count of this.#counts) count();
  }

  /** @param {typeof KINDS[number]} kind */
  #kind(kind) {
    const names = catalogue.listing.models.filter((model) => model.kind === kind).map((model) => model.name);
    const list = html("ul", { class: "diffuseit-list" });
    for (const name of names) {
      const model = catalogue.model(name);
      if (!model) continue;
      const row = new Row(this.say, model);
      this.#rows.set(name, row);
      list.append(row.root);
    }
    const count = () => {
      const here = names.filter((name) => catalogue.model(name)?.present).length;
      return this.say("count", { here, all: names.length });
    };
    return this.#group(this.say(`kind.${kind}`), list, count);
  }

  /**
   * @param {string} title
   * @param {HTMLElement} body
   * @param {() => string} count
   */
  #group(title, body, count) {
    const number = html("span", { class: "diffuseit-count" });
    this.#counts.push(() => {
      number.textContent = count();
    });
    const heading = html("h4", {}, title);
    return html("details", { class: "diffuseit-group" }, html("summary", {}, heading, number), body);
  }

  #sets() {
    const list = html("ul", { class: "diffuseit-list" });
    for (const bundle of catalogue.listing.bundles) list.append(this.#set(bundle));
    return list;
  }

  /** @param {Bundle} bundle */
  #set(bundle) {
    const { say } = this;
    const facts = html("p", { class: "diffuseit-facts" });
    const button = html("button", { type: "button", class: "diffuseit-button" }, say("download"));
    button.setAttribute("aria-label", `${say("download")}: ${bundle.name}`);
    const error = html("p", { class: "diffuseit-error", role: "alert", hidden: true });
    button.addEventListener("click", async () => {
      error.hidden = true;
      try {
        await download(say, bundle.name, catalogue.members(bundle.name));
      } catch (reason) {
        error.textContent = say("failed", { error: reason instanceof Error ? reason.message : String(reason) });
        error.hidden = false;
      }
    });
    this.#counts.push(() => {
      const members = catalogue.members(bundle.name);
      const wanted = missing(members);
      const here = members.filter((model) => model.present).length;
      const left = size(wanted.reduce((sum, model) => sum + model.bytes, 0));
      const byHand = members.filter((model) => model.manual && !model.present).map((model) => model.name);
      const parts = [say("count", { here, all: members.length })];
      if (wanted.length) parts.push(say("left", { size: left }));
      if (byHand.length) parts.push(say("left.byHand", { names: byHand.join(", ") }));
      facts.textContent = parts.join(" · ");
      button.hidden = !wanted.length;
    });
    const head = html("div", { class: "diffuseit-head" }, html("h5", {}, bundle.name), button);
    const about = html("p", { class: "diffuseit-about" }, catalogued(bundle.purpose));
    const row = html("li", { class: "diffuseit-row" }, head, about, facts, error);
    row.dataset.set = bundle.name;
    return row;
  }
}
