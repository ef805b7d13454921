"""DiffuseIT for ComfyUI: this folder as a custom node.

ComfyUI imports this file from a folder of any name and calls `comfy_entrypoint`. Nothing is imported before that
call, so that the tests and tools run where there is no ComfyUI.
"""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    """The extension with the nodes of the pack."""
    from comfy_api.latest import ComfyExtension

    class DiffuseITExtension(ComfyExtension):
        async def on_load(self) -> None:
            from .nodes import register_routes
            from .nodes.comfy import events, folders

            folders.register()
            if (server := events.server()) is not None:
                register_routes(server)

        async def get_node_list(self) -> list:
            from .nodes import node_classes

            return list(node_classes())

    return DiffuseITExtension()
