// @ts-check
// The sidebar's panel: graphs to begin with, models, help.
import { language, speak } from "../words.js";
import { catalogue } from "./catalogue.js";
import { element, link } from "./dom.js";
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
  const root = element("section", { className: "diffuseit-panel", lang: language(), "aria-label": "DiffuseIT" });
  room.replaceChildren(root);
  const say = await speak("panel");
  root.append(element("h2", {}, "DiffuseIT"));
  const trouble = element("div", { className: "diffuseit-error", role: "alert", hidden: true });
  const told = element("p", { className: "diffuseit-unseen", role: "status" });
  const body = element("div", {});
  root.append(trouble, body, told);
  const fill = async () => {
    trouble.hidden = true;
    try {
      await catalogue.refresh();
      if (!signal.aborted) body.replaceChildren(...sections(say, signal, told));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const again = element("button", { type: "button", className: "diffuseit-button" }, say("again"));
      again.addEventListener("click", fill);
      trouble.replaceChildren(element("p", {}, say("silent", { error: reason })), again);
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
    section(say("start"), element("p", { className: "diffuseit-lead" }, say("start.lead")), starters.root),
    section(say("models"), models.root),
    section(say("help"), help(say)),
  ];
}

/**
 * @param {string} title
 * @param {...HTMLElement} content
 */
function section(title, ...content) {
  return element("section", { className: "diffuseit-section", "aria-label": title }, element("h3", {}, title), ...content);
}

/** @param {Say} say */
function help(say) {
  const list = element("ul", { className: "diffuseit-links" });
  for (const [key, address] of Object.entries(HELP)) list.append(element("li", {}, link(say(key), address, say("newTab"))));
  return list;
}
