/** The lines about the next run on a sampler, with a button for models that are missing. */

import { app } from "../../../../scripts/app.js";
import { catalog, downloadable, messageOf, totalBytes } from "../shared/catalog.js";
import { html } from "../shared/dom.js";
import { download } from "../shared/download.js";
import { formatBytes } from "../shared/format.js";
import { translator } from "../shared/words.js";

/** @typedef {import("./notes.js").Line} Line */
/** @typedef {import("../shared/catalog.js").Model} Model */
/** @typedef {import("../shared/catalog.js").Job} Job */

const ACTIVE = ["waiting", "running", "stopping"];
const t = translator("run");

/** Whether the list of models was asked for: once, not again and again from a server that does not answer. */
let isAsked = false;

/** Paragraphs that change in place. */
export class NoteLines {
  element = html("div", { class: "diffuseit-notes" });
  #shown = "";

  /** @param {Line[]} lines */
  show(lines) {
    this.element.hidden = !lines.length;
    const rows = lines.map((line) => ({ ...line, action: actionOf(line.downloads ?? []) }));
    // Replacing a button would take the focus from it.
    const now = JSON.stringify(rows);
    if (now === this.#shown) return;
    this.#shown = now;
    this.element.replaceChildren(...rows.map(paragraph));
  }
}

/** @typedef {{ kind: "button" | "progress", text: string, why?: string } | null} Action `why`: the last one failed */

/**
 * @param {string[]} names of models in the catalog
 * @returns {Action} null if there is nothing to download, or as long as the catalog is not here
 */
function actionOf(names) {
  if (!names.length) return null;
  const models = modelsOf(names);
  if (!models.length) {
    if (!isAsked) catalog.refresh().catch(() => {});
    isAsked = true;
    return null;
  }
  const jobs = models.flatMap(({ job }) => (job && ACTIVE.includes(job.state) ? [job] : []));
  if (jobs.length) {
    const done = jobs.reduce((sum, job) => sum + job.done, 0);
    const total = jobs.reduce((sum, job) => sum + job.total, 0);
    return {
      kind: "progress",
      text: t("getting", { percent: Math.floor((100 * done) / Math.max(1, total)) }),
    };
  }
  const missing = downloadable(models);
  if (!missing.length) return null;
  const failed = missing.find(({ job }) => job?.state === "failed")?.job;
  const text = t(failed ? "getAgain" : "get", { size: formatBytes(totalBytes(missing)) });
  return { kind: "button", text, why: failed ? reasonOf(failed) : "" };
}

/**
 * @param {Job} job that has failed
 * @returns {string}
 */
function reasonOf({ host, error }) {
  return host ? t("unreached", { host }) : (error ?? "");
}

/**
 * @param {string[]} names
 * @returns {Model[]}
 */
function modelsOf(names) {
  return names.flatMap((name) => catalog.model(name) ?? []);
}

/**
 * @param {Line & { action: Action }} line
 * @returns {HTMLElement}
 */
function paragraph({ text, tone, title, downloads, action }) {
  const row = html("p", { class: `note ${tone}`, ...(title && { title }) }, text);
  if (action?.kind === "progress") row.append(" ", html("span", { class: "progress" }, action.text));
  if (action?.kind === "button") {
    const button = html("button", { type: "button", class: "get" }, action.text);
    button.addEventListener("click", () => void get(downloads ?? []));
    if (action.why) row.append(`. ${action.why}`);
    row.append(" ", button);
  }
  return row;
}

/** @param {string[]} names of models to ask for */
async function get(names) {
  try {
    const missing = downloadable(modelsOf(names));
    await download(
      missing.map(({ name }) => name).join(", "),
      missing,
      missing.map(({ name }) => name),
    );
  } catch (error) {
    app.extensionManager.toast.add({ severity: "error", summary: "DiffuseIT", detail: messageOf(error) });
  }
}
