/** The models that the server knows, and the state of their downloads. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

/**
 * @typedef {object} Job a download
 * @property {string} name of the model
 * @property {"waiting" | "running" | "stopping" | "stopped" | "failed" | "done"} state
 * @property {number} done bytes
 * @property {number} total bytes; 0 if unknown
 * @property {string | null} note what a running download does while it receives no bytes, in English
 * @property {string | null} error one sentence, in English
 * @property {string | null} details what the libraries said of the error
 * @property {string | null} host the host that cannot be reached, if that is the error
 *
 * @typedef {object} Model
 * @property {string} name
 * @property {"ddpm" | "vit" | "clip" | "measure" | "watermark" | "flow"} kind
 * @property {string} purpose in English
 * @property {string} terms the license, in English
 * @property {string} limits what the license asks for, in English
 * @property {number} bytes
 * @property {string | null} host that serves the file
 * @property {string | null} url of the file
 * @property {string | null} manual how to get it, if it cannot be downloaded
 * @property {boolean} present
 * @property {string} file its name in the folder
 * @property {Job | null} job
 *
 * @typedef {{ name: string, purpose: string, members: string[] }} Bundle models that belong together
 * @typedef {{ files: string[], present: boolean }} PocketFiles names of the latent pocket models in ComfyUI's folders
 * @typedef {{ folder: string, pocket: PocketFiles, models: Model[], bundles: Bundle[] }} Listing
 */

const EVENT = "diffuseit.download";

/** An error that the server has answered with. */
export class ServerError extends Error {}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function request(path, options) {
  const response = await api.fetchApi(`/diffuseit/${path}`, options);
  if (!response.ok) throw new ServerError(`${response.status}: ${reasonIn(await response.text())}`);
  return response;
}

/**
 * @param {string} path
 * @param {object} content sent as JSON
 */
async function post(path, content) {
  const headers = { "Content-Type": "application/json" };
  await request(path, { method: "POST", headers, body: JSON.stringify(content) });
}

/**
 * @param {string} body of an error response
 * @returns {string}
 */
function reasonIn(body) {
  try {
    return String(JSON.parse(body).error ?? body);
  } catch {
    return body;
  }
}

/** Dispatches `change` when the state of a download has changed, and `list` when the listing has. */
class Catalog extends EventTarget {
  /** @type {Listing} */
  listing = { folder: "", pocket: { files: [], present: false }, models: [], bundles: [] };

  /** Starts to receive the server's events. */
  listen() {
    api.addEventListener(EVENT, ({ detail }) => void this.#onJob(detail));
  }

  /** Gets the listing from the server. Rejects if the server does not answer. */
  async refresh() {
    this.listing = await (await request("models")).json();
    this.dispatchEvent(new Event("list"));
  }

  /** @param {string} name of a model or bundle to download */
  async startDownload(name) {
    await post("downloads", { name });
  }

  /** @param {string} name of a model */
  async stopDownload(name) {
    await request(`downloads/${encodeURIComponent(name)}`, { method: "DELETE" });
  }

  /** Copies the latent pocket models to where ComfyUI's own loaders look. */
  async putPocketFiles() {
    await post("pocket-files", {});
    await this.#refreshLoaders();
  }

  /**
   * @param {string} name
   * @returns {Model | undefined}
   */
  model(name) {
    return this.listing.models.find((model) => model.name === name);
  }

  /**
   * @param {string} name of a bundle
   * @returns {Model[]}
   */
  members(name) {
    const names = this.listing.bundles.find((bundle) => bundle.name === name)?.members ?? [];
    return this.listing.models.filter((model) => names.includes(model.name));
  }

  /** @param {Job} job */
  async #onJob(job) {
    const model = this.model(job.name);
    if (model) model.job = job;
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
    if (job.state === "done") await this.#refreshLoaders();
  }

  /** Lets the panel and the loaders list a new file. If the server is gone, ComfyUI says so itself. */
  async #refreshLoaders() {
    await Promise.allSettled([this.refresh(), app.refreshComboInNodes()]);
  }
}

/** Shared by all panels that are opened. */
export const catalog = new Catalog();

/**
 * @param {Model[]} models
 * @returns {Model[]} those that a download would fetch
 */
export function downloadable(models) {
  return models.filter((model) => !model.present && !model.manual);
}

/**
 * @param {Model[]} models
 * @returns {number} of bytes
 */
export function totalBytes(models) {
  return models.reduce((sum, model) => sum + model.bytes, 0);
}

/**
 * @param {unknown} error
 * @returns {string}
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
