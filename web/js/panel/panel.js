// @ts-check
// The sidebar's panel: graphs to begin with, models, help.
import { html, link } from "../dom.js";
import { language, speak } from "../words.js";
import { catalogue } from "./catalogue.js";
import { Models } from "./models.js";
import { Starters } from "./starters.js";

/** @typedef {import("../words.js").Say} Say */

const REPOSITORY = "https://github.com/diffuseit/diffuseit";
const HELP = {
  "help.troubleshooting": `${REPOSITORY}/blob/main/docs/troubleshooting.md`,
  "help.readme": `${REPOSITORY}#readme`,
  "help.issues": `${REPOSITORY}/issues`,
};

/**
 * Fills `room` with a panel that lives until `signal` is aborted.
 * @param {HTMLElement} room
 * @param {AbortSignal} signal
 */
export async function open(room, signal) {
  const root = html("section", { class: "diffuseit-panel", lang: language(), "aria-label": "DiffuseIT" });
  room.replaceChildren(root);
  const say = speak("panel");
  root.append(html("h2", {}, "DiffuseIT"));
  const trouble = html("div", { class: "diffuseit-error", role: "alert", hidden: true });
  const told = html("p", { class: "diffuseit-unseen", role: "status" });
  const body = html("div", {});
  root.append(trouble, body, told);
  const fill = async () => {
    trouble.hidden = true;
    try {
      await catalogue.refresh();
      if (!signal.aborted) body.replaceChildren(...sections(say, signal, told));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const again = html("button", { type: "button", class: "diffuseit-button" }, say("again"));
      again.addEventListener("click", fill);
      trouble.replaceChildren(html("p", {}, say("silent", { error: reason })), again);
      trouble.hidden = false;
    }
  };
  await fill();
}

/**
 * @param {Say} say
 * @param {AbortSignal} signal
 * @param {HTMLElement} told where those who hear the screen learn what became of a download
 */
function sections(say, signal, told) {
  const starters = new Starters(say);
  const models = new Models(say);
  catalogue.addEventListener("list", () => [starters, models].forEach((part) => part.update()), { signal });
  catalogue.addEventListener(
    "change",
    (event) => {
      const { name, state } = /** @type {CustomEvent<import("./catalogue.js").Job>} */ (event).detail;
      models.update();
      if (state !== "running") told.textContent = say(`told.${state}`, { name });
    },
    { signal },
  );
  return [
    section(say("start"), html("p", { class: "diffuseit-lead" }, say("start.lead")), starters.root),
    section(say("models"), models.root),
    section(say("help"), help(say)),
  ];
}

/**
 * @param {string} title
 * @param {...HTMLElement} content
 */
function section(title, ...content) {
  return html("section", { class: "diffuseit-section", "aria-label": title }, html("h3", {}, title), ...content);
}

/** @param {Say} say */
function help(say) {
  const list = html("ul", { class: "diffuseit-links" });
  for (const [key, address] of Object.entries(HELP)) list.append(html("li", {}, link(say(key), address, say("newTab"))));
  return list;
}
