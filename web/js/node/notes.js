/**
 * Lines about the next run, what the last one is worth, and why it failed.
 *
 * @typedef {{ kind: "no_steps", steps: number, skip: number }
 *   | { kind: "missing", models: string[], downloads: string[] }
 *   | { kind: "preset_needs", preset: string, input: string }
 *   | { kind: "unknown_words", words: string[] }
 *   | { kind: "drawn_scenes" | "empty_mask" | "no_mask" }} Note a warning from the server (nodes/before_run.py)
 *
 * @typedef {object} Line
 * @property {string} text
 * @property {"warning" | "error" | "plain"} tone
 * @property {string} [title] the tooltip
 * @property {string[]} [downloads] names in the catalog of what a button would download
 */

import { translator } from "../shared/words.js";
import { verdictLine } from "./verdict.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./estimate.js").Estimate} Estimate */

const MOST_WORDS = 5;
const MOST_MODELS = 2;
const LONGEST_ERROR = 300;
const t = translator("run");

/**
 * @param {Run | null} run
 * @param {Estimate | null} estimate
 * @param {(name: string) => string} labelOf what the node calls one of its widgets
 * @param {number} picture of the batch that is shown
 * @returns {Line[]} the most important first
 */
export function linesOf(run, estimate, labelOf, picture) {
  /** @type {Line[]} */
  const lines = [];
  if (run?.error) lines.push({ tone: "error", text: shorten(run.error, LONGEST_ERROR) });
  const verdict = run?.verdicts[picture];
  if (verdict) lines.push(verdictLine(verdict));
  for (const note of estimate?.notes ?? []) {
    const downloads = note.kind === "missing" ? note.downloads : [];
    lines.push({ tone: "warning", text: textOf(note, estimate), downloads });
  }
  if (estimate?.settings.size) lines.push({ tone: "plain", text: settingsText(estimate, labelOf) });
  return lines;
}

/**
 * @param {Note} note
 * @param {Estimate | null} estimate
 * @returns {string}
 */
function textOf(note, estimate) {
  switch (note.kind) {
    case "no_steps":
      return t("note.no_steps", { steps: note.steps, skip: note.skip });
    case "missing":
      return t("note.missing", { models: listed(note.models, MOST_MODELS) });
    case "preset_needs":
      return t("note.preset_needs", { preset: note.preset, input: note.input });
    case "unknown_words":
      return t("note.unknown_words", { words: listed(note.words, MOST_WORDS) });
    case "drawn_scenes":
      return estimate?.size ? t("note.drawn_scenes_size", { ...estimate.size }) : t("note.drawn_scenes");
    case "empty_mask":
      return t("note.empty_mask");
    case "no_mask":
      return t("note.no_mask");
  }
}

/**
 * @param {Estimate} estimate
 * @param {(name: string) => string} labelOf
 * @returns {string} the values in force
 */
function settingsText({ preset, settings }, labelOf) {
  const values = [...settings].map(([name, value]) =>
    `${labelOf(name)} ${value ?? "…"}`.replaceAll(" ", "\u00a0"),
  );
  return preset
    ? t("fromPreset", { preset, values: values.join(", ") })
    : t("fromOptions", { values: values.join(", ") });
}

/**
 * @param {string[]} items
 * @param {number} most
 * @returns {string} the first of them, and how many more there are
 */
function listed(items, most) {
  const more = items.length - most;
  const shown = items.slice(0, most).join(", ");
  return more > 0 ? `${shown}, +${more}` : shown;
}

/**
 * @param {string} text
 * @param {number} length
 * @returns {string}
 */
function shorten(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
