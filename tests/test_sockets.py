"""Who may open a connection: no test beyond this machine, and in the product only what downloads."""

import ast
import socket
from pathlib import Path

import pytest
from pytest_socket import SocketConnectBlockedError

PRODUCT = Path(__file__).parents[1] / "diffuseit"
CLIENTS = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "huggingface_hub",
    "requests",
    "socket",
    "urllib3",
    "websocket",
}


# Addresses that are reserved for documentation: nobody is there, should the block be gone.
@pytest.mark.filterwarnings("ignore:A test tried to use")
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
)
def test_no_test_connects_beyond_this_machine(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as outside:
        outside.settimeout(0.5)
        with pytest.raises(SocketConnectBlockedError):
            outside.connect((host, 443))


def test_a_test_may_connect_to_this_machine() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def imported(path: Path) -> set[str]:
    """The modules of other packages that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_only_the_hub_imports_what_opens_connections() -> None:
    files = {path.relative_to(PRODUCT).as_posix(): imported(path) for path in PRODUCT.rglob("*.py")}
    clients = {
        name
        for name, modules in files.items()
        if any(module.split(".")[0] in CLIENTS or module.startswith("urllib.request") for module in modules)
    }
    assert clients == {"models/hub/http.py", "models/hub/huggingface.py"}
