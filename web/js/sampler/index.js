// @ts-check
/** Registers what the sampler and loss nodes show. */

import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { loadStyles } from "../dom.js";
import { SETTINGS } from "../settings.js";
import { addBar, addPanel, findAgain, loseSight, restoreAll, SAMPLER, settle, take } from "./book.js";
import { refreshSoon, watch } from "./forecast.js";
import { EVENT } from "./run.js";
import { complete } from "./saved.js";

/** @typedef {import("./places.js").GraphNode} GraphNode */

const LOSS_NODE = /^DiffuseIT(\w+Loss|Preset)$/;

app.registerExtension({
  name: "DiffuseIT.Live",
  settings: SETTINGS,

  setup() {
    loadStyles(new URL("./live.css", import.meta.url));
    api.addEventListener(EVENT, (/** @type {CustomEvent} */ event) => {
      take(event.detail);
      if (event.detail.kind === "result") refreshSoon(); // the server knows more now
    });
    api.addEventListener("reconnecting", loseSight);
    api.addEventListener("reconnected", () => void findAgain());
    for (const end of ["execution_success", "execution_error", "execution_interrupted"]) {
      api.addEventListener(end, (/** @type {CustomEvent} */ { detail }) => {
        settle(detail.prompt_id, end === "execution_success");
      });
    }
    watch();
  },

  /** @param {GraphNode} node */
  nodeCreated(node) {
    if (node.comfyClass === SAMPLER) addPanel(node);
    else if (LOSS_NODE.test(node.comfyClass)) addBar(node);
  },

  /** @param {import("./saved.js").SavedGraph} graph */
  beforeConfigureGraph(graph) {
    complete(graph);
  },

  afterConfigureGraph() {
    restoreAll();
    refreshSoon();
  },
});
