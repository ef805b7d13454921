// @ts-check
/** Keeps the estimates on the samplers up to date: after a while without changes of the graph. */

import { api } from "../../../../scripts/api.js";
import { showsRuns } from "../settings.js";
import { panelOf, SAMPLER } from "./book.js";
import { estimates } from "./estimate.js";
import { allNodes, idsOf } from "./places.js";

const QUIET_MS = 600;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** Asks for new estimates once the graph has been left alone for a moment. */
export function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => void refresh(), QUIET_MS);
}

/** Watches the graph from now on. */
export function watch() {
  api.addEventListener("graphChanged", refreshSoon);
  refreshSoon();
}

/** @returns {Promise<void>} */
async function refresh() {
  const samplers = allNodes().filter((node) => node.comfyClass === SAMPLER && panelOf(node));
  if (!samplers.length || !showsRuns()) return;
  const ids = new Map(samplers.map((node) => [node, idsOf(node)[0]]));
  const found = await estimates([...ids.values()].filter(Boolean));
  for (const [node, id] of ids) panelOf(node)?.expect(found.get(id) ?? null);
}
