/** Registers the sidebar tab, and what else is not shown on nodes. */

import { app } from "../../../../scripts/app.js";
import { loadStyles } from "../shared/dom.js";
import { addSearchWords } from "../shared/search_words.js";
import { translator } from "../shared/words.js";
import { catalog } from "../shared/catalog.js";
import { menuItems } from "./expand.js";
import { openPanel } from "./panel.js";

/** @type {{ container: HTMLElement, controller: AbortController } | null} */
let open = null;

function close() {
  open?.controller.abort();
  open = null;
}

app.registerExtension({
  name: "DiffuseIT.Panel",
  getNodeMenuItems: menuItems,
  beforeRegisterVueAppNodeDefs: addSearchWords,

  setup() {
    loadStyles(new URL("./sidebar.css", import.meta.url));
    catalog.listen();
    app.extensionManager.registerSidebarTab({
      id: "diffuseit",
      icon: "diffuseit-icon",
      title: "DiffuseIT",
      tooltip: translator("sidebar")("tooltip"),
      type: "custom",
      render(container) {
        // ComfyUI calls this whenever it redraws the sidebar.
        if (open?.container === container) return;
        close();
        open = { container, controller: new AbortController() };
        void openPanel(container, open.controller.signal);
      },
      destroy: close,
    });
  },
});
