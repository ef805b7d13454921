// The part of ComfyUI's front end that web/js uses. What is not declared here must not be relied on.

interface Slot {
  name: string;
  type: string;
  links?: number[] | null; // of an output
}

interface Link {
  target_id: number | string;
  target_slot: number;
}

interface Widget {
  name: string;
  value: unknown;
  label?: string; // what is written on it, if not its name
  disabled?: boolean;
  options?: { advanced?: boolean };
  callback?(value: unknown): void;
}

interface DOMWidget extends Widget {
  serialize: boolean; // false: its value is not saved in the workflow
}

interface DOMWidgetOptions {
  serialize: boolean; // false: its value is not sent in the prompt
  hideInPanel: boolean; // true: it is not among the node's inputs in the panel on the right
  margin: number;
  getMinHeight(): number;
  getMaxHeight(): number;
}

interface LGraphNode {
  id: number | string;
  type: string;
  comfyClass: string;
  title: string;
  pos: [number, number];
  size: [number, number];
  readonly boundingRect: ArrayLike<number>; // x, y, width and height with the title, as last drawn
  graph: LGraph | null;
  subgraph?: LGraph;
  properties: Record<string, unknown>;
  mode: number;
  inputs?: (Slot & { link?: number | null })[];
  outputs?: Slot[];
  widgets?: Widget[];
  computeSize(): [number, number];
  setSize(size: [number, number]): void;
  findInputSlot(name: string): number;
  connect(output: number, target: LGraphNode, input: number): unknown;
  addDOMWidget(name: string, type: string, element: HTMLElement, options: DOMWidgetOptions): DOMWidget;
  onAdded?(...args: unknown[]): void;
  getInputNode(slot: number): LGraphNode | null;
  onExecuted?(output: Record<string, unknown> | undefined): void;
  onConfigure?(data: { id?: number | string } | undefined, ...args: unknown[]): void;
  onRemoved?(...args: unknown[]): void;
}

interface LGraphGroup {
  pos: [number, number];
  size: [number, number];
  color: string;
}

interface LGraph {
  id?: string;
  nodes: LGraphNode[];
  groups: LGraphGroup[];
  links: Map<number, Link>;
  getNodeById(id: number | string): LGraphNode | null | undefined;
  add(item: LGraphNode | LGraphGroup): void;
  remove(node: LGraphNode): void;
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
  processMouseWheel(event: WheelEvent): void;
  processMouseDown(event: PointerEvent): void;
  processMouseMove(event: PointerEvent): void;
  processMouseUp(event: PointerEvent): void;
}

declare const LiteGraph: {
  vueNodesMode?: boolean; // missing in older front ends
  registered_node_types: Record<string, unknown>;
  createNode(type: string): LGraphNode;
  LGraphGroup: new (title: string) => LGraphGroup;
};

interface Setting {
  id: string;
  name: string;
  category: string[];
  tooltip: string;
  type: string;
  defaultValue: unknown;
  attrs?: Record<string, number>;
  onChange?(): void;
}

interface SidebarTab {
  id: string;
  icon: string;
  title: string;
  tooltip: string;
  type: "custom";
  render(container: HTMLElement): void;
  destroy(): void;
}

interface MenuItem {
  content: string;
  callback(): void;
}

interface NodeDefinition {
  name: string;
  search_aliases?: string[]; // other texts that the search for nodes looks in
}

interface Extension {
  name: string;
  beforeRegisterVueAppNodeDefs?(definitions: NodeDefinition[]): void;
  getNodeMenuItems?(node: LGraphNode): MenuItem[];
  settings?: Setting[];
  setup?(): Promise<void> | void;
  nodeCreated?(node: LGraphNode): void;
  afterConfigureGraph?(): void;
}

interface Question {
  title: string;
  message: string;
  itemList?: string[];
  hint?: string;
}

/** Nodes by execution id. */
type Prompt = Record<string, { class_type?: string; inputs: Record<string, unknown> }>;

interface App {
  canvas: LGraphCanvas;
  readonly configuringGraph: boolean; // whether nodes are built from a file
  graph: LGraph;
  rootGraph?: LGraph; // missing in older front ends
  extensionManager: {
    setting: { get(name: string): unknown };
    workflow?: { activeWorkflow: object | null }; // an object for each tab
    dialog: { confirm(question: Question): Promise<boolean | null> };
    toast: { add(message: { severity: "error" | "info"; summary: string; detail: string }): void };
    registerSidebarTab(tab: SidebarTab): void;
  };
  registerExtension(extension: Extension): void;
  refreshComboInNodes(): Promise<void>;
  graphToPrompt(): Promise<{ output: Prompt }>;
}

/** What is wrong with an input of a node that the server refuses. */
interface NodeFault {
  type: string;
  details: string;
  extra_info?: { input_name?: string };
}

interface QueueResponse {
  prompt_id?: string;
  node_errors?: Record<string, { class_type?: string; errors: NodeFault[] }>;
}

interface Api {
  clientId?: string;
  queuePrompt(number: number, data: { output?: Prompt }, ...more: unknown[]): Promise<QueueResponse>;
  fetchApi(path: string, options?: RequestInit): Promise<Response>;
  addEventListener(type: string, listener: (event: CustomEvent) => void): void;
}

// ComfyUI serves these at /scripts/.
declare module "*/scripts/app.js" {
  export const app: App;
}

declare module "*/scripts/api.js" {
  export const api: Api;
}
