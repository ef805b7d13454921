/** What the server is asked about runs and prompts. Nothing here rejects: a server that does not answer knows nothing. */

import { api } from "../../../../scripts/api.js";
import { readHistory } from "./schema.js";

/** @typedef {import("./run.js").Outcome} Outcome */

/**
 * @returns {Promise<import("./run.js").RunEvent[]>} those of the last run, if this page queued it; else none
 * (nodes/live.py keeps them)
 */
export async function fetchEvents() {
  const answer = await getJson(`/diffuseit/run?client=${encodeURIComponent(api.clientId ?? "")}`);
  return readHistory(answer) ?? [];
}

/**
 * @param {string} id of a prompt
 * @returns {Promise<"running" | Outcome | null>} null if the server does not answer. A server that was restarted does
 * not know the prompt, which has failed then.
 */
export async function fetchState(id) {
  const queue = await getJson("/queue");
  if (!queue) return null;
  if (runningPrompt(queue, id)) return "running";
  const history = await getJson(`/history/${encodeURIComponent(id)}`);
  if (!history) return null;
  return history[id]?.status?.completed ? "done" : "failed";
}

/**
 * @param {string} id of a prompt that runs or has ended
 * @returns {Promise<Prompt>} empty if the server does not know it
 */
export async function fetchPrompt(id) {
  const running = runningPrompt(await getJson("/queue"), id);
  if (running) return running[2] ?? {};
  const history = await getJson(`/history/${encodeURIComponent(id)}`);
  return history?.[id]?.prompt?.[2] ?? {};
}

/**
 * @param {any} queue the server's
 * @param {string} id of a prompt
 * @returns {any[] | undefined} the prompt as the queue has it, if it runs
 */
function runningPrompt(queue, id) {
  return queue?.queue_running?.find((/** @type {unknown[]} */ item) => item[1] === id);
}

/**
 * @param {string} path
 * @returns {Promise<any>} null if the server does not answer
 */
async function getJson(path) {
  try {
    const response = await api.fetchApi(path);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
