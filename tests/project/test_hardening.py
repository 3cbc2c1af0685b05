"""What deploy/ and docs/deploy.md promise about processes: no core dumps, few rights, settings nobody else reads."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
HARDENED = {
    "LimitCORE": "0",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "UMask": "0077",
    "CapabilityBoundingSet": "",
}


@pytest.mark.parametrize("unit", UNITS, ids=[unit.name for unit in UNITS])
def test_a_unit_has_few_rights_and_leaves_no_core_dump(unit: Path) -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE))
    assert {name: settings.get(name) for name in HARDENED} == HARDENED


def test_the_containers_of_the_app_leave_no_core_dump() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    ours = [service for name, service in services.items() if name != "postgres"]
    assert ours
    assert {service["ulimits"]["core"] for service in ours} == {0}


def test_every_image_of_others_is_named_by_version_and_digest() -> None:
    """A tag can be moved to another image after it was looked at, a digest can not."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    images = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    images += [service["image"] for service in services.values() if "build" not in service]
    assert len(images) == 3
    for image in images:
        assert re.fullmatch(r"\w+:\d+\.\d+\S*@sha256:[0-9a-f]{64}", image), image


def test_the_guide_lets_the_service_read_its_settings_and_nobody_else() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text()
    assert "chgrp connect /etc/connect /etc/connect/environment" in guide
    assert "chmod 750 /etc/connect && chmod 640 /etc/connect/environment" in guide
