"""The pause image is a valid OCI archive, the same for the same program."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline_local.pause import write_archive


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "catatonit"
    path.write_bytes(b"a static program")
    return path


def test_every_blob_is_what_its_descriptor_says(tmp_path: Path, program: Path) -> None:
    write_archive(tmp_path / "pause.tar", "localhost/pause:1", program)
    with tarfile.open(tmp_path / "pause.tar") as archive:
        files = {name: archive.extractfile(name).read() for name in archive.getnames()}  # type: ignore[union-attr]

    def blob(descriptor: dict[str, object]) -> bytes:
        digest = str(descriptor["digest"]).removeprefix("sha256:")
        content = files[f"blobs/sha256/{digest}"]
        assert hashlib.sha256(content).hexdigest() == digest
        assert len(content) == descriptor["size"]
        return content

    described = json.loads(files["index.json"])["manifests"][0]
    assert described["annotations"]["io.containerd.image.name"] == "localhost/pause:1"
    manifest = json.loads(blob(described))
    config = json.loads(blob(manifest["config"]))
    layer = gzip.decompress(blob(manifest["layers"][0]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    assert config["config"]["Entrypoint"][0] == "/pause"
    assert config["config"]["User"] == "65534:65534"
    with tarfile.open(fileobj=io.BytesIO(layer)) as content:
        member = content.getmember("pause")
        assert member.mode == 0o755
        assert content.extractfile(member).read() == b"a static program"  # type: ignore[union-attr]


def test_the_same_program_gives_the_same_image(tmp_path: Path, program: Path) -> None:
    for name in ("one.tar", "two.tar"):
        write_archive(tmp_path / name, "localhost/pause:1", program)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
