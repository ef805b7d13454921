/** Registers what sampler and loss nodes show of a run. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { loadStyles } from "../shared/dom.js";
import { REPORTERS, showsRun, showsShares, VARIATIONS } from "../shared/node_types.js";
import { SETTINGS } from "../shared/settings.js";
import { onDisconnect, onPromptEnd, onReconnect } from "./connection.js";
import { refreshEstimates, watchEstimates } from "./estimate.js";
import { addLossBar, addRunWidget, catchUp, handleEvent, restoreAll, showCached } from "./registry.js";
import { showReportText } from "./report_text.js";
import { readEvent } from "./schema.js";
import { keepSeeds, seedItems } from "./seeds.js";
import { onceTabChanges, watchQueue } from "./tabs.js";

const EVENT = "diffuseit.run";
const OUTCOMES = /** @type {const} */ ({
  execution_success: "done",
  execution_error: "failed",
  execution_interrupted: "stopped",
});
/** The Vue renderer draws new nodes some time after their graph is there. */
const DELAYS_MS = [0, 100, 500];

// ComfyUI may receive events before `setup`, and complains if nobody listens.
api.addEventListener(EVENT, ({ detail }) => {
  const event = readEvent(detail);
  if (!event) return;
  handleEvent(event);
  // The server has measured another run.
  if (event.kind === "result") refreshEstimates();
});

app.registerExtension({
  name: "DiffuseIT.Live",
  settings: SETTINGS,
  getNodeMenuItems: seedItems,

  setup() {
    loadStyles(new URL("./node.css", import.meta.url));
    watchQueue();
    api.addEventListener("reconnecting", onDisconnect);
    api.addEventListener("reconnected", () => void onReconnect());
    for (const [type, outcome] of Object.entries(OUTCOMES)) {
      api.addEventListener(type, ({ detail }) => onPromptEnd(outcome, detail));
    }
    api.addEventListener("execution_cached", ({ detail }) => void showCached(detail.prompt_id, detail.nodes));
    app.canvas.canvas.addEventListener("litegraph:set-graph", restoreAll);
    watchEstimates();
    void catchUp();
  },

  nodeCreated(node) {
    if (node.comfyClass === VARIATIONS) keepSeeds(node);
    if (REPORTERS.has(node.comfyClass)) showReportText(node);
    if (showsRun(node)) addRunWidget(node);
    else if (showsShares(node)) addLossBar(node);
  },

  afterConfigureGraph() {
    for (const delay of DELAYS_MS) setTimeout(restoreAll, delay);
    onceTabChanges(restoreAll);
    refreshEstimates();
  },
});
