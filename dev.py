"""Set up and run the project, with only Python 3.10 to 3.13, pip, and git.

    python dev.py demo [options of `diffuseit demo`]
    python dev.py test [options of pytest]
    python dev.py lint
    python dev.py audit

Each command creates `.venv` from `uv.lock` on its first run, and lint creates `node_modules` from `package-lock.json`
with the Node of `.venv`. Audit asks PyPI and npm for known vulnerabilities of the locked packages.
"""

import hashlib
import os
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
WINDOWS = os.name == "nt"
SCRIPTS = VENV / ("Scripts" if WINDOWS else "bin")
EXE = ".exe" if WINDOWS else ""
PYTHON = SCRIPTS / f"python{EXE}"
UV = VENV / "uv" / "bin" / f"uv{EXE}"
NODE = SCRIPTS / f"node{EXE}"
NPM = SCRIPTS / f"npm{EXE}"
NODE_MODULES = ROOT / "node_modules"
LOCKED = VENV / "locked.txt"
UV_VERSION = "0.13.9"

COMMANDS = {
    "demo": [[SCRIPTS / f"diffuseit{EXE}", "demo", "-o", Path("output", "demo")]],
    "test": [[PYTHON, "-m", "pytest"]],
    "lint": [
        [PYTHON, "-m", "ruff", "check"],
        [PYTHON, "-m", "ruff", "format", "--check"],
        [PYTHON, "-m", "mypy"],
        [NODE, NODE_MODULES / "prettier" / "bin" / "prettier.cjs", "--check", Path("web", "js")],
        [NODE, NODE_MODULES / "eslint" / "bin" / "eslint.js", "--max-warnings", "0"],
        [NODE, NODE_MODULES / "typescript" / "bin" / "tsc"],
    ],
    "audit": [
        [UV, "export", "--locked", "--quiet", "--no-emit-project", "--all-groups", "--output-file", LOCKED],
        # --strict: a package that cannot be looked up is a failure too.
        [UV, "run", "--isolated", "--locked", "--only-group", "audit"]
        + ["pip-audit", "--strict", "--disable-pip", "--require-hashes", "--requirement", LOCKED],
        [NPM, "audit"],
    ],
}


def run(command: list, **environment: str) -> int:
    """Run `command`, and return its exit code. Ctrl-C also reaches the command, which gets time to clean up."""
    with subprocess.Popen([str(part) for part in command], cwd=ROOT, env=os.environ | environment) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def require(command: list, **environment: str) -> None:
    if code := run(command, **environment):
        sys.exit(code)


def create() -> None:
    """Create `.venv`, with uv in its own folder. pip is the caller's, since Debian's Python has no ensurepip."""
    if not find_spec("pip"):
        sys.exit(
            f"{sys.executable} has no pip: install it (Debian, Ubuntu: apt install python3-pip) and run again."
        )
    print(f"Creating {VENV} with Python {sys.version.split()[0]}", flush=True)
    venv.create(VENV, clear=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = [f"uv=={UV_VERSION}", "--only-binary", "uv", "--target", UV.parent.parent]
    require([*pip, *uv], PIP_USER="0", PIP_ROOT_USER_ACTION="ignore")


def digest(*names: str) -> str:
    """Return a checksum of the contents of files."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def synchronize(development: bool) -> None:
    """Install what uv.lock lists: only the product, or the developers' tools too."""
    wanted = digest("uv.lock", "pyproject.toml")
    stamps = [VENV / "synchronized-dev"] + ([] if development else [VENV / "synchronized"])
    healthy = UV.exists() and PYTHON.exists() and run([PYTHON, "-c", ""]) == 0
    if healthy and any(stamp.exists() and stamp.read_text() == wanted for stamp in stamps):
        return
    if not healthy:
        create()
    print("Installing what uv.lock lists (torch is a large download the first time)", flush=True)
    groups = [] if development else ["--no-dev", "--inexact"]
    require([UV, "sync", "--locked", *groups], UV_PROJECT_ENVIRONMENT=str(VENV), UV_PYTHON=str(PYTHON))
    stamps[-1].write_text(wanted)


def synchronize_front_end() -> None:
    """Install the checkers of web/js from package-lock.json, without running scripts of packages."""
    wanted, stamp = digest("package-lock.json", "package.json"), NODE_MODULES / "synchronized"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing what package-lock.json lists", flush=True)
    if run([NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]):
        sys.exit(
            "npm could not install the checkers of web/js: it needs npm's registry, https://registry.npmjs.org or the "
            "one of `npm config get registry`. Run again when it can be reached."
        )
    stamp.write_text(wanted)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        sys.exit(f"Python 3.10 to 3.13 is needed, and this is {sys.version.split()[0]} ({sys.executable}).")
    name, *options = sys.argv[1:]
    synchronize(development=name != "demo")
    if name == "lint":
        synchronize_front_end()
    codes = [run([*command, *options]) for command in COMMANDS[name]]
    sys.exit(next((code for code in codes if code), 0))


if __name__ == "__main__":
    main()
