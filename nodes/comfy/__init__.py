"""The bridge to ComfyUI: nothing else in `nodes` imports its internals (`comfy`, `folder_paths`, `server`)."""
