/** Registers what sampler and loss nodes show of a run. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { loadStyles } from "../shared/dom.js";
import { LOSSES, RUNNERS, VARIATIONS } from "../shared/node_types.js";
import { SETTINGS } from "../shared/settings.js";
import { onDisconnect, onPromptEnd, onReconnect } from "./connection.js";
import { refreshEstimates, watchEstimates } from "./estimate.js";
import { addLossBar, addRunWidget, handleEvent, restoreRuns } from "./registry.js";
import { readEvent } from "./schema.js";
import { keepSeeds, seedItems } from "./seeds.js";

const EVENT = "diffuseit.run";

app.registerExtension({
  name: "DiffuseIT.Live",
  settings: SETTINGS,
  getNodeMenuItems: seedItems,

  setup() {
    loadStyles(new URL("./node.css", import.meta.url));
    api.addEventListener(EVENT, ({ detail }) => {
      const event = readEvent(detail);
      if (!event) return;
      handleEvent(event);
      // The server has measured another run.
      if (event.kind === "result") refreshEstimates();
    });
    api.addEventListener("reconnecting", onDisconnect);
    api.addEventListener("reconnected", () => void onReconnect());
    for (const type of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(type, ({ detail }) => onPromptEnd(detail.prompt_id, type === "execution_success"));
    }
    watchEstimates();
  },

  nodeCreated(node) {
    if (node.comfyClass === VARIATIONS) keepSeeds(node);
    if (RUNNERS.has(node.comfyClass)) addRunWidget(node);
    else if (!node.subgraph && node.outputs?.some(({ type }) => type === LOSSES)) addLossBar(node);
  },

  afterConfigureGraph() {
    restoreRuns();
    refreshEstimates();
  },
});
