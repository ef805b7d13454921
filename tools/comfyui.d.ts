// As much of ComfyUI's front end as web/js uses, and no more: what is not here is not relied on.

interface Slot {
  name: string;
  type: string;
}

interface Widget {
  name: string;
  value: unknown;
  callback?(value: unknown): void;
}

interface LGraphNode {
  id: number | string;
  type: string;
  title: string;
  pos: [number, number];
  size: [number, number];
  readonly boundingRect: ArrayLike<number>; // x, y, width and height with the title, when last drawn
  widgets?: Widget[];
  computeSize(): [number, number];
  setSize(size: [number, number]): void;
  findInputSlot(name: string): number;
  connect(output: number, target: LGraphNode, input: number): unknown;
}

interface LGraphGroup {
  pos: [number, number];
  size: [number, number];
  color: string;
}

interface LGraph {
  nodes: LGraphNode[];
  groups: LGraphGroup[];
  add(item: LGraphNode | LGraphGroup): void;
  updateExecutionOrder(): void;
  setDirtyCanvas(foreground: boolean, background: boolean): void;
}

interface LGraphCanvas {
  canvas: HTMLCanvasElement;
  graph: LGraph | null;
  ds: { scale: number; offset: [number, number] };
  deselectAll(): void;
  emitBeforeChange(): void;
  emitAfterChange(): void;
  setDirty(foreground: boolean, background: boolean): void;
}

declare const LiteGraph: {
  registered_node_types: Record<string, unknown>;
  createNode(type: string): LGraphNode;
  LGraphGroup: new (title: string) => LGraphGroup;
};

interface SidebarTab {
  id: string;
  icon: string;
  title: string;
  tooltip: string;
  type: "custom";
  render(room: HTMLElement): void;
  destroy(): void;
}

interface Extension {
  name: string;
  setup?(): Promise<void> | void;
}

interface Question {
  title: string;
  message: string;
  itemList?: string[];
  hint?: string;
}

interface App {
  canvas: LGraphCanvas;
  graph: LGraph;
  rootGraph: LGraph;
  extensionManager: {
    setting: { get(name: string): unknown };
    dialog: { confirm(question: Question): Promise<boolean | null> };
    toast: { add(message: { severity: "error" | "info"; summary: string; detail: string }): void };
    registerSidebarTab(tab: SidebarTab): void;
  };
  registerExtension(extension: Extension): void;
  refreshComboInNodes(): Promise<void>;
}

interface Api {
  fetchApi(path: string, request?: RequestInit): Promise<Response>;
  addEventListener(event: string, listener: (event: CustomEvent) => void): void;
}

// Served by ComfyUI at /scripts/, however many folders above a module that is.
declare module "*/scripts/app.js" {
  export const app: App;
}

declare module "*/scripts/api.js" {
  export const api: Api;
}
