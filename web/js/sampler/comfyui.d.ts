// What the modules of this folder use of ComfyUI's front end beside tools/comfyui.d.ts, whose interfaces these extend.

interface Setting {
  id: string;
  name: string;
  category?: string[];
  tooltip?: string;
  type: string;
  defaultValue: unknown;
  attrs?: Record<string, number>;
  onChange?(): void;
}

interface Extension {
  settings?: Setting[];
  nodeCreated?(node: any): void;
  beforeConfigureGraph?(graph: import("./saved.js").SavedGraph): void;
  afterConfigureGraph?(): void;
}

interface LGraphCanvas {
  processMouseWheel(event: WheelEvent): void;
  processMouseDown(event: PointerEvent): void;
  processMouseMove(event: PointerEvent): void;
  processMouseUp(event: PointerEvent): void;
}

interface App {
  graphToPrompt(): Promise<{ output: Record<string, any> }>;
}
