/** The front end's texts in the language that ComfyUI is set to. Each language is a file of words/. */

import { app } from "../../../../scripts/app.js";

const LANGUAGES = ["en", "ko", "ja", "zh"];

/** @typedef {Record<string, Record<string, string>>} Words texts by section and key */

/** @type {Map<string, Words>} by language, loaded before anything is drawn */
const words = new Map(await Promise.all(LANGUAGES.map(load)));

/**
 * @param {string} name of a language
 * @returns {Promise<[string, Words]>} without words if the file cannot be loaded
 */
async function load(name) {
  try {
    const response = await fetch(new URL(`./words/${name}.json`, import.meta.url));
    return [name, await response.json()];
  } catch {
    return [name, {}];
  }
}

/**
 * @returns {string} the language of our texts and numbers: ComfyUI's if the pack speaks it, else English. A variant such
 * as "zh-TW" counts as another language: ComfyUI shows the names of our nodes in English then.
 */
export function language() {
  const chosen = String(app.extensionManager.setting.get("Comfy.Locale"));
  return LANGUAGES.includes(chosen) ? chosen : "en";
}

/**
 * @param {string} name of a language
 * @param {string} section
 * @param {string} key may be anything, `constructor` included
 * @returns {string | undefined}
 */
function find(name, section, key) {
  const texts = words.get(name)?.[section] ?? {};
  return Object.hasOwn(texts, key) ? texts[key] : undefined;
}

/**
 * @param {string} section
 * @param {string} key
 * @param {string} fallback in English
 * @returns {string}
 */
export function translate(section, key, fallback) {
  return find(language(), section, key) ?? find("en", section, key) ?? fallback;
}

/**
 * Returns the text of a key. `t("size", {size: "3 GB"})` replaces {size} in the text.
 * @typedef {(key: string, values?: Record<string, string | number>) => string} Translator
 */

/**
 * @param {string} section
 * @returns {Translator}
 */
export function translator(section) {
  return (key, values = {}) =>
    translate(section, key, key).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? name));
}

/**
 * @param {string} text of the model catalog, in English
 * @returns {string}
 */
export function catalogText(text) {
  return translate("catalog", text, text);
}
