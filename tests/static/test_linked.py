"""What scripts/linked says is in the program: every package that Cargo links and no other, its licence, and a bill of
materials that CycloneDX's own schema takes."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linked")
    subprocess.run([ROOT / "scripts" / "linked", TARGET, folder], check=True)
    return folder


@pytest.fixture(scope="module")
def bill(folder):
    return json.loads((folder / "sbom.cdx.json").read_text())


@pytest.fixture(scope="module")
def packages():
    """What `cargo tree` says is linked, as (name, version), without what is ours."""
    edges = ["--edges", "no-dev,no-build,no-proc-macro", "--target", TARGET]
    tree = ["cargo", "tree", "--locked", "--package", "taskfault", *edges, "--prefix", "none", "--format", "{p}"]
    said = subprocess.run(tree, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    # `NAME vVERSION`, and for ours the folder behind it.
    found = {re.fullmatch(r"(\S+) v(\S+)( \(.*\))*", line).groups() for line in said.splitlines() if line}
    return {(name, version) for name, version, place in found if "(/" not in (place or "")}


def test_every_package_that_is_linked_is_named_with_its_licence(folder, bill, packages):
    assert len(packages) > 50
    text = (folder / "licences.txt").read_text()
    for name, version in packages:
        assert re.search(rf"^{re.escape(name)} {re.escape(version)}: \S", text, re.MULTILINE), (name, version)
    listed = {(it["name"], it["version"]): it for it in bill["components"] if "version" in it}
    assert set(listed) >= packages
    # Cargo resolves features for the whole workspace, so some more may be there; none that the lock file does not have.
    lock = (ROOT / "Cargo.lock").read_text()
    for (name, version), component in listed.items():
        assert f'name = "{name}"\nversion = "{version}"\n' in lock
        assert component["licenses"] and f'checksum = "{component["hashes"][0]["content"]}"' in lock
    for name in ("glibc", "libgcc"):
        assert f"\n{name}: " in text and name in {it["name"] for it in bill["components"]}


def test_licence_texts_are_there(folder):
    text = (folder / "licences.txt").read_text()
    for beginning in ("Apache License", "Permission is hereby granted, free of charge", "ISC"):
        assert beginning in text
    # Once each, but for the words that packages add to it.
    assert text.count("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION") < 40


def test_the_bill_of_materials_keeps_the_schema(folder, bill):
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str((folder / "sbom.cdx.json").read_text())
    assert error is None, error
    names = {it["bom-ref"] for it in bill["components"] if "bom-ref" in it} | {bill["metadata"]["component"]["bom-ref"]}
    for entry in bill["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= names


def test_the_schema_is_asked():
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str('{"bomFormat": "CycloneDX", "specVersion": "1.6", "x": 1}')


def test_a_second_time_gives_the_same_bytes(folder, tmp_path):
    subprocess.run([ROOT / "scripts" / "linked", TARGET, tmp_path], check=True)
    for name in ("licences.txt", "sbom.cdx.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
