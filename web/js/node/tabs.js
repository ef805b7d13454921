/**
 * Which of ComfyUI's tabs queued a prompt, and what was queued.
 *
 * Copies of one file have the same workflow id, so that the id in the server's events does not tell their tabs apart.
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";

const MAX_QUEUED = 200;

/** @type {WeakMap<object, string>} names of tabs by ComfyUI's objects for their workflows */
const names = new WeakMap();
let count = 0;

/** @type {Map<string, { tab: string, prompt: Prompt }>} by the server's id */
const queued = new Map();

/** @returns {string} the name of the open tab; "" if ComfyUI does not tell it */
export function openTab() {
  const workflow = app.extensionManager.workflow?.activeWorkflow;
  if (!workflow) return "";
  const name = names.get(workflow) ?? `tab ${++count}`;
  names.set(workflow, name);
  return name;
}

/** Notes from now on what is queued. */
export function watchQueue() {
  const { queuePrompt } = api;
  api.queuePrompt = async function (...args) {
    const tab = openTab();
    const answer = await queuePrompt.apply(this, args);
    if (answer?.prompt_id) remember(answer.prompt_id, tab, args[1]?.output ?? {});
    return answer;
  };
}

/**
 * @param {string} id
 * @param {string} tab
 * @param {Prompt} prompt
 */
function remember(id, tab, prompt) {
  queued.set(id, { tab, prompt });
  if (queued.size > MAX_QUEUED) queued.delete([...queued.keys()][0]);
}

/**
 * @param {string} id of a prompt
 * @returns {string | undefined} undefined if this page has not queued it, or not since it was loaded
 */
export function tabOf(id) {
  return queued.get(id)?.tab;
}

/**
 * @param {string} id of a prompt
 * @returns {Prompt} empty if this page has not queued it, or not since it was loaded
 */
export function promptOf(id) {
  return queued.get(id)?.prompt ?? {};
}
