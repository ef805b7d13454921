// @ts-check
// What the server knows of the models, and how far downloads have come. One for all panels that open.
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

/**
 * @typedef {{name: string, state: "waiting" | "running" | "stopping" | "stopped" | "failed" | "done",
 *   done: number, total: number, error: string | null}} Job
 * @typedef {{name: string, kind: "ddpm" | "vit" | "clip", purpose: string, terms: string, limits: string, bytes: number,
 *   size: string, host: string | null, manual: string | null, present: boolean, file: string, job: Job | null}} Model
 * @typedef {{name: string, purpose: string, members: string[]}} Bundle
 * @typedef {{folder: string, models: Model[], bundles: Bundle[]}} Listing
 */

const EVENT = "diffuseit.download";

/** An answer of the server that is no success, in words. */
export class Refusal extends Error {}

/**
 * @param {string} path
 * @param {RequestInit} [request]
 */
async function ask(path, request) {
  const answer = await api.fetchApi(`/diffuseit/${path}`, request);
  if (answer.ok) return answer;
  const text = await answer.text();
  let words = text;
  try {
    words = JSON.parse(text).error ?? text;
  } catch {
    // not JSON: shown as it is
  }
  throw new Refusal(`${answer.status}: ${words}`);
}

/** Tells `change` events when a job, and `list` events when the files of the machine, are others. */
class Catalogue extends EventTarget {
  /** @type {Listing} */
  listing = { folder: "", models: [], bundles: [] };

  /** Listens to the server, for as long as the page lives. */
  listen() {
    api.addEventListener(EVENT, (event) => this.#hear(event.detail));
  }

  /** Asks the server anew. Rejects with words where it does not answer. */
  async refresh() {
    this.listing = await (await ask("models")).json();
    this.dispatchEvent(new Event("list"));
  }

  /** @param {string} name of a model or bundle */
  async start(name) {
    const body = JSON.stringify({ name });
    await ask("downloads", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  }

  /** @param {string} name */
  async stop(name) {
    await ask(`downloads/${encodeURIComponent(name)}`, { method: "DELETE" });
  }

  /** @param {string} name */
  model(name) {
    return this.listing.models.find((model) => model.name === name);
  }

  /**
   * The models of a bundle.
   * @param {string} name
   */
  members(name) {
    const names = this.listing.bundles.find((bundle) => bundle.name === name)?.members ?? [];
    return this.listing.models.filter((model) => names.includes(model.name));
  }

  /** @param {Job} job */
  async #hear(job) {
    const model = this.model(job.name);
    if (model) model.job = job;
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
    if (job.state !== "done") return;
    // The loaders shall list the file; where the server is gone, the front end says so itself.
    await Promise.allSettled([this.refresh(), app.refreshComboInNodes()]);
  }
}

export const catalogue = new Catalogue();

/**
 * 3.4 GB, 350 MB, as the server says sizes.
 * @param {number} bytes
 */
export function size(bytes) {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;
}
