"""The site: it builds without a warning, and pages that show what the programs say are filled in."""

import json
import os
import re
import shutil
import subprocess

import pytest
from pages import BIN_DIR, ROOT

# They share the site, which takes its time to build.
pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = built(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def built(folder, *options):
    """A strict build. Not --quiet: what is not said does not fail it."""
    return subprocess.run(
        ["mkdocs", "build", "--strict", "--site-dir", folder, *options],
        cwd=ROOT, env=os.environ | {"TASKFAULT_BIN_DIR": str(BIN_DIR)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("link", ["missing.md", "index.md#missing"])
def test_a_dead_link_fails_the_build(link, tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write(f"\n[dead]({link})\n")
    configuration = tmp_path / "mkdocs.yml"
    text = (ROOT / "mkdocs.yml").read_text()
    configuration.write_text(text.replace("scripts/docs_pages.py", str(ROOT / "scripts" / "docs_pages.py")))
    done = built(tmp_path / "site", "--config-file", configuration)
    assert done.returncode != 0 and "missing" in done.stderr, done.stdout + done.stderr


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag), f"{page}: {tag}"


def test_every_comment_for_generated_text_is_replaced(site):
    for page in site.rglob("*.html"):
        assert not re.search(r"<!-- (faults|help|file)\b", page.read_text()), page


def test_faults_and_commands_are_those_of_the_programs(site):
    said = subprocess.run([BIN_DIR / "taskfault", "faults", "--json"], capture_output=True, text=True, check=True)
    faults = (site / "reference" / "faults.html").read_text()
    for fault in json.loads(said.stdout)["faults"]:
        assert f'<h2 id="{fault["name"]}"' in faults
        for parameter in fault["parameters"]:
            assert f"<code>--{parameter['option']}</code>" in faults, (fault["name"], parameter["option"])
    commands = (site / "reference" / "commands.html").read_text()
    for heading in ("taskfault-inject-network-latency", "taskfault-sidecar", "taskfault-local-run"):
        assert f'id="{heading}"' in commands
