"""What is made by a command of ours is what the command makes now."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import BIN_DIR, ROOT

ENVIRONMENT = {**os.environ, "TASKFAULT_BIN_DIR": str(BIN_DIR)}


def test_the_templates_of_cloudformation_are_what_their_script_writes(tmp_path):
    script = [sys.executable, ROOT / "scripts" / "cloudformation", tmp_path]
    done = subprocess.run(script, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    texts = lambda folder: {path.name: path.read_text() for path in Path(folder).glob("*.yaml")}
    assert texts(ROOT / "deploy" / "cloudformation") == texts(tmp_path), "run scripts/cloudformation"


def test_the_documents_of_faults_are_what_their_script_writes():
    script = [sys.executable, ROOT / "scripts" / "documents", "--check"]
    done = subprocess.run(script, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
