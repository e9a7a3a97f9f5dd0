"""The image that holds a pod's namespaces open: Debian's static catatonit and nothing else, made without any tool."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

from pipeline_local.errors import LocalError

PROGRAM = Path("/usr/bin/catatonit")
_NOBODY = 65534
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write_archive(target: Path, name: str, program: Path = PROGRAM) -> None:
    """Write an OCI image archive (OCI image layout specification 1.0) that runs the program as a pod's first process.

    The same program gives the same bytes, so the same image.
    """
    layer = _tar({"pause": program.read_bytes()}, mode=0o755)
    compressed = gzip.compress(layer, mtime=0)
    config = _json(
        {
            "architecture": _architecture(),
            "os": "linux",
            "config": {"Entrypoint": ["/pause", "-P"], "User": f"{_NOBODY}:{_NOBODY}"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, config),
            "layers": [_descriptor(_LAYER, compressed)],
        }
    )
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    described = {**_descriptor(_MANIFEST, manifest), "annotations": annotations}
    index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [described]})
    blobs = {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (compressed, config, manifest)}
    files = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": index, **blobs}
    target.write_bytes(_tar(files, mode=0o644))


def _architecture() -> str:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise LocalError(f"the embedded node runs on {' and '.join(_ARCHITECTURES)}, not on {machine}")
    return _ARCHITECTURES[machine]


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(content), mode, 0
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
