/**
 * Which of ComfyUI's tabs queued a prompt, and what was queued.
 *
 * Copies of one file have the same workflow id, so that the id in the server's events does not tell their tabs apart.
 */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { tellOnce } from "./refusals.js";

const MAX_QUEUED = 200;
const TAB_CHECK_MS = 100;
/** for 20 seconds */
const TAB_CHECKS = 200;

/** @type {WeakMap<object, string>} names of tabs by ComfyUI's objects for their workflows */
const names = new WeakMap();
let count = 0;

/** @type {Map<string, { tab: string | undefined, prompt: Prompt }>} by the server's id */
const queued = new Map();

/** @returns {string} the name of the open tab; "" if ComfyUI does not tell it */
export function openTab() {
  const workflow = app.extensionManager.workflow?.activeWorkflow;
  if (!workflow) return "";
  const name = names.get(workflow) ?? `tab ${++count}`;
  names.set(workflow, name);
  return name;
}

/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;

/**
 * Waits until another tab is open. ComfyUI says which one is only some time after it has built the tab's graph, on a busy
 * machine seconds after.
 * @param {() => void} onChange called then; never if the graph was built anew in the open tab
 */
export function onceTabChanges(onChange) {
  const before = openTab();
  let checks = 0;
  clearInterval(timer);
  timer = setInterval(() => {
    const hasChanged = openTab() !== before;
    if (hasChanged || ++checks === TAB_CHECKS) clearInterval(timer);
    if (hasChanged) onChange();
  }, TAB_CHECK_MS);
}

/** @type {Promise<unknown>} settled when the server has answered all that was queued */
let answered = Promise.resolve();

/** Notes from now on what is queued. */
export function watchQueue() {
  const { queuePrompt } = api;
  api.queuePrompt = function (...args) {
    const tab = openTab();
    const answer = queuePrompt.apply(this, args);
    answer.catch(tellOnce);
    const noted = answer.then(
      ({ prompt_id }) => prompt_id && addPrompt(prompt_id, args[1]?.output ?? {}, tab),
    );
    answered = Promise.allSettled([answered, noted]);
    return answer;
  };
}

/** @returns {Promise<unknown>} settled when all prompts are known that events may name: an event may come first */
export function promptsKnown() {
  return answered;
}

/**
 * @param {string} id
 * @param {Prompt} prompt
 * @param {string} [tab] undefined if it is unknown which tab has queued it
 */
export function addPrompt(id, prompt, tab) {
  queued.set(id, { tab, prompt });
  if (queued.size > MAX_QUEUED) queued.delete([...queued.keys()][0]);
}

/**
 * @param {string} id of a prompt
 * @returns {boolean}
 */
export function knowsPrompt(id) {
  return queued.has(id);
}

/**
 * @param {string} id of a prompt
 * @returns {string | undefined} undefined if it is unknown which tab has queued it
 */
export function tabOf(id) {
  return queued.get(id)?.tab;
}

/**
 * @param {string} id of a prompt
 * @returns {Prompt} empty if it is unknown
 */
export function promptOf(id) {
  return queued.get(id)?.prompt ?? {};
}
