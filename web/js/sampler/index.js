// @ts-check
/** Registers what the sampler and loss nodes show. */

import { api } from "../../../../scripts/api.js"
import { app } from "../../../../scripts/app.js"
import { SETTINGS } from "../settings.js"
import { addPanel, restoreAll, SAMPLER, take } from "./book.js"
import { loadStyles } from "./dom.js"
import { EVENT } from "./run.js"

/** @typedef {import("./places.js").GraphNode} GraphNode */

app.registerExtension({
  name: "DiffuseIT.Live",
  settings: SETTINGS,

  setup() {
    loadStyles()
    api.addEventListener(EVENT, (/** @type {CustomEvent} */ event) => void take(event.detail))
  },

  /** @param {GraphNode} node */
  nodeCreated(node) {
    if (node.comfyClass === SAMPLER) addPanel(node)
  },

  afterConfigureGraph() {
    restoreAll()
  }
})
