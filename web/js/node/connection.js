/** Runs whose last events were missed: asks the server what became of them. */

import { RUNNERS } from "../shared/node_types.js";
import { activeRuns, catchUp, runsOf, setState, showFailure } from "./registry.js";
import { isActive } from "./run.js";
import { readMessage } from "./schema.js";
import { fetchState } from "./server.js";

/** @typedef {import("./run.js").Outcome} Outcome */

/** Marks the runs that were running when the connection was lost. */
export function onDisconnect() {
  for (const run of activeRuns()) setState(run, "silent");
}

/** Asks the server, which can be reached again, what became of these runs. */
export async function onReconnect() {
  await catchUp();
  await Promise.all(
    activeRuns().map(async (run) => {
      const state = run.state === "silent" && run.place ? await fetchState(run.place.prompt) : null;
      // An event of the run may have arrived while we were waiting.
      if (state && run.state === "silent") setState(run, state);
    }),
  );
}

/**
 * Ends the runs of a prompt that has ended, in case their own last event was missed, and tells why they failed.
 * @param {Outcome} outcome
 * @param {{ prompt_id: string, node_id?: unknown, node_type?: unknown, exception_message?: unknown }} detail
 */
export function onPromptEnd(outcome, { prompt_id: prompt, node_id, node_type, exception_message }) {
  const error = readMessage(exception_message);
  for (const run of runsOf(prompt)) {
    if (isActive(run) || (run.state === "failed" && !run.error)) setState(run, outcome, error);
  }
  if (outcome === "failed" && RUNNERS.has(String(node_type))) showFailure(prompt, String(node_id), error);
}
