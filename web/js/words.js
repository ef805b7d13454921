// @ts-check
// The words of our front end, in the language that ComfyUI is set to. Each language is a file of words/.
import { app } from "../../../scripts/app.js";

const LANGUAGES = ["en", "ko", "ja", "zh"];

/**
 * `panel` and the like: texts by key, {names} in braces being filled in. `catalogue`: texts of the catalogue by their
 * English.
 * @typedef {Record<string, Record<string, string>>} Words
 */

/** The language to speak: that of the setting, as far as we have it. */
export function language() {
  const locale = String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");
  return LANGUAGES.find((known) => locale === known || locale.startsWith(`${known}-`)) ?? "en";
}

/** @type {Map<string, Promise<Words>>} */
const files = new Map();

/**
 * @param {string} name
 * @returns {Promise<Words>}
 */
function read(name) {
  const known = files.get(name);
  if (known) return known;
  const file = fetch(new URL(`./words/${name}.json`, import.meta.url)).then((answer) => answer.json());
  files.set(name, file);
  return file;
}

/**
 * What says the texts of one room of the words: `say("title")`, `say("size", {size: "3 GB"})`.
 * @typedef {((key: string, values?: Record<string, string | number>) => string)
 *   & {catalogue: (english: string) => string}} Say
 */

/**
 * @param {string} room
 * @returns {Promise<Say>}
 */
export async function speak(room) {
  const english = await read("en");
  const words = await read(language()).catch(() => english);
  /** @type {Say} */
  const say = Object.assign(
    (/** @type {string} */ key, /** @type {Record<string, string | number>} */ values = {}) => {
      const text = words[room]?.[key] ?? english[room]?.[key] ?? key;
      return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? name));
    },
    { catalogue: (/** @type {string} */ text) => words.catalogue?.[text] ?? text },
  );
  return say;
}
