"""Virtual environments that figures are taken in, made from a lock file when they are first asked for."""

import hashlib
import os
import subprocess
import sys

from uv import find_uv_bin

from pipeline_local.images_content import checkout
from pipeline_local.paths import Paths


def interpreter(lock: str) -> str:
    """The Python of an environment with exactly what `locks/{lock}.txt` names, byte-compiled, below the cache folder.

    It is made anew where the lock file has changed; that downloads what the machine doesn't have yet.
    """
    file = checkout() / "locks" / f"{lock}.txt"
    content = hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = Paths.from_environment().cache / "bench" / f"{lock}-{content}"
    python, complete = folder / "bin" / "python", folder / ".complete"
    if not complete.exists():
        sys.stdout.write(f"\nMaking an environment of locks/{lock}.txt in {folder}\n")
        uv = find_uv_bin()
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python", python]
        subprocess.run([*install, "--requirement", file], check=True)
        # crash here: the environment isn't complete, and is made again
        complete.touch()
    return str(python)


def runner() -> tuple[list[str], dict[str, str]]:
    """The runner's command and variables: the packages of its image, the code of the checkout.

    This environment has more packages than the image, and some of them are imported wherever they are found.
    """
    root = checkout()
    path = os.pathsep.join(str(root / part) for part in ("core", "runner"))
    return [interpreter("runner"), "-m", "pipeline_runner"], {"PYTHONPATH": path, "MALLOC_ARENA_MAX": "2"}
