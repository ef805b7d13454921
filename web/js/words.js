// @ts-check
// The words of our front end, in the language that ComfyUI is set to. Each language is a file of words/.
import { app } from "../../../scripts/app.js";

const LANGUAGES = ["en", "ko", "ja", "zh"];

/**
 * `panel` and the like: texts by key, {names} in braces being filled in. `catalogue`: texts of the catalogue by their
 * English.
 * @typedef {Record<string, Record<string, string>>} Words
 */

/** @type {Record<string, Words>} read before anything of ours is drawn */
const words = Object.fromEntries(await Promise.all(LANGUAGES.map(async (name) => [name, await read(name)])));

/**
 * @param {string} name
 * @returns {Promise<Words>} none where the file does not come; then English stands in, or the keys
 */
async function read(name) {
  try {
    return await (await fetch(new URL(`./words/${name}.json`, import.meta.url))).json();
  } catch {
    return {};
  }
}

/** The language that ComfyUI is set to, as in "en" or "zh-TW". */
export function locale() {
  return String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");
}

/** The language to speak: that of the setting, as far as we have it. */
export function language() {
  return LANGUAGES.find((known) => locale() === known || locale().startsWith(`${known}-`)) ?? "en";
}

/**
 * What says the texts of one room of the words: `say("title")`, `say("size", {size: "3 GB"})`; the key itself where
 * there is no text.
 * @typedef {(key: string, values?: Record<string, string | number>) => string} Say
 */

/**
 * @param {string} room
 * @returns {Say}
 */
export function speak(room) {
  return (key, values = {}) => {
    const text = words[language()][room]?.[key] ?? words.en[room]?.[key] ?? key;
    return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? name));
  };
}

/** What says a text of the catalogue, by its English. */
export const catalogued = speak("catalogue");
