/** Asks the server for the events of a run that this page has missed, as after a reload (nodes/live.py keeps them). */

import { api } from "../../../../scripts/api.js";
import { readHistory } from "./schema.js";

/** @returns {Promise<import("./run.js").RunEvent[]>} of the last run, if this page queued it; else none */
export async function fetchHistory() {
  try {
    const response = await api.fetchApi(`/diffuseit/run?client=${encodeURIComponent(api.clientId ?? "")}`);
    return response.ok ? (readHistory(await response.json()) ?? []) : [];
  } catch {
    return [];
  }
}
