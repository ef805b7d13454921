"""DiffuseIT for ComfyUI: this folder as a custom node.

ComfyUI imports this file from a folder of any name and calls `comfy_entrypoint`. Nothing is imported before that
call, so that the folder costs ComfyUI's start nothing and the tests and tools run where there is no ComfyUI.
"""

WEB_DIRECTORY = "./web/js"


async def comfy_entrypoint():
    """The extension with the nodes of the pack (none yet)."""
    from comfy_api.latest import ComfyExtension

    class DiffuseITExtension(ComfyExtension):
        async def get_node_list(self) -> list:
            return []

    return DiffuseITExtension()
