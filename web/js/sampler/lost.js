// @ts-check
/** What became of a run while the server could not be heard. */

import { api } from "../../../../scripts/api.js";

/**
 * @param {string} prompt the server's id of what was queued
 * @returns {Promise<"running" | "done" | "failed" | null>} null where the server does not say. One that has been
 * started anew knows nothing of the prompt, which then failed.
 */
export async function fate(prompt) {
  const queue = await answer("/queue");
  if (!queue) return null;
  const running = queue.queue_running.some((/** @type {unknown[]} */ item) => item[1] === prompt);
  if (running) return "running";
  const history = await answer(`/history/${encodeURIComponent(prompt)}`);
  if (!history) return null;
  return history[prompt]?.status?.completed ? "done" : "failed";
}

/**
 * @param {string} path
 * @returns {Promise<any>} null where there is none
 */
async function answer(path) {
  try {
    const response = await api.fetchApi(path);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
