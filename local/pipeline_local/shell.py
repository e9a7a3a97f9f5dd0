"""What `pipelines local env` prints: the lines that a shell evaluates to use the cluster."""

import os
import shlex
from collections.abc import Mapping

from pipeline_local.paths import Paths


def export_lines(paths: Paths, exports: Mapping[str, str], search_path: str) -> list[str]:
    """`export NAME=VALUE` lines for a POSIX shell, quoted. Evaluating them twice changes nothing more."""
    bin_folder = str(paths.bin)
    rest = [folder for folder in search_path.split(os.pathsep) if folder and folder != bin_folder]
    values = {
        "KUBECONFIG": str(paths.kubeconfig),
        "PATH": os.pathsep.join([bin_folder, *rest]),
        **dict(sorted(exports.items())),
    }
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
