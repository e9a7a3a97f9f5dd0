"""What the components are started with: loopback only, no secret in an argument, every port a remembered one."""

import ipaddress
import json
import re
import tomllib
from pathlib import Path

import pytest

from pipeline_local import certificates, components, nodeconfig
from pipeline_local.errors import LocalError
from pipeline_local.layout import PORTS, Layout

NUMBERS = {name: 20001 + index for index, name in enumerate(PORTS)}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    folder = tmp_path_factory.mktemp("s")
    return Layout(
        state=folder,
        programs=Path("/programs"),
        certificates=certificates.ensure(folder / "certificates"),
        ports=NUMBERS,
        runc="/usr/sbin/runc",
        search_path="/usr/bin",
    )


def test_every_remembered_port_belongs_to_one_component(layout: Layout) -> None:
    used = [port for part in components.render(layout) for port in part.ports]
    assert sorted(used) == sorted(PORTS)


def test_every_address_is_loopback(layout: Layout) -> None:
    own = {"10.96.0.0", "10.244.0.0"}  # the networks of Services and of pods, which no component listens on
    for part in components.render(layout):
        for text in (*part.argv, *part.files.values()):
            for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text):
                assert address in own or ipaddress.ip_address(address).is_loopback, (part.name, text)


def test_no_argument_holds_a_key(layout: Layout) -> None:
    for part in components.render(layout):
        assert "PRIVATE" not in " ".join(part.argv)


def test_a_component_comes_after_those_it_needs(layout: Layout) -> None:
    seen: set[str] = set()
    for part in components.render(layout):
        assert seen >= set(part.needs)
        seen.add(part.name)


def test_the_kubelet_accepts_machines_with_old_or_mixed_control_groups(layout: Layout) -> None:
    config = json.loads(nodeconfig.kubelet(layout))
    assert (config["cgroupsPerQOS"], config["enforceNodeAllocatable"], config["failCgroupV1"]) == (False, [], False)
    assert config["authentication"]["anonymous"]["enabled"] is False
    assert config["port"] == NUMBERS["kubelet"]


def test_images_that_can_not_be_pulled_again_are_not_collected(layout: Layout) -> None:
    assert json.loads(nodeconfig.kubelet(layout))["imageGCHighThresholdPercent"] == 100


def test_what_is_killed_again_and_again_is_back_in_seconds(layout: Layout) -> None:
    assert json.loads(nodeconfig.kubelet(layout))["crashLoopBackOff"] == {"maxContainerRestartPeriod": "2s"}


def test_containerds_configuration_is_toml(layout: Layout) -> None:
    config = tomllib.loads(nodeconfig.containerd(layout))
    assert config["version"] == 3
    assert config["grpc"]["address"] == str(layout.containerd_socket)
    assert config["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == nodeconfig.PAUSE_IMAGE
    assert config["plugins"]["io.containerd.cri.v1.runtime"]["netns_mounts_under_state_dir"] is True


def test_two_installations_have_two_networks(layout: Layout, tmp_path: Path) -> None:
    other = Layout(**{**vars(layout), "state": tmp_path})
    assert json.loads(nodeconfig.pod_network(other))["name"] != json.loads(nodeconfig.pod_network(layout))["name"]


def test_a_state_folder_too_deep_for_a_socket_is_refused(layout: Layout) -> None:
    with pytest.raises(LocalError, match="XDG_STATE_HOME is too long for a socket"):
        Layout(**{**vars(layout), "state": Path("/" + "deep/" * 20)})
