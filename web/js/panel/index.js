// @ts-check
// Registers the panel with ComfyUI's sidebar.
import { app } from "../../../../scripts/app.js";
import { loadStyles } from "../dom.js";
import { speak } from "../words.js";
import { catalogue } from "./catalogue.js";
import { open } from "./panel.js";

const ID = "diffuseit";

/** @type {{room: HTMLElement, end: AbortController} | null} */
let shown = null;

function close() {
  shown?.end.abort();
  shown = null;
}

app.registerExtension({
  name: "DiffuseIT.Panel",
  setup() {
    loadStyles(new URL("./panel.css", import.meta.url));
    catalogue.listen();
    const say = speak("panel");
    app.extensionManager.registerSidebarTab({
      id: ID,
      icon: "diffuseit-icon",
      title: "DiffuseIT",
      tooltip: say("tooltip"),
      type: "custom",
      render(room) {
        if (shown?.room === room) return; // the front end asks again whenever it redraws
        close();
        shown = { room, end: new AbortController() };
        open(room, shown.end.signal);
      },
      destroy: close,
    });
  },
});
