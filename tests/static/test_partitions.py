"""What the sidecar knows of AWS's partitions is what scripts/partitions makes of the botocore that is installed."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script():
    loader = importlib.machinery.SourceFileLoader("partitions", str(ROOT / "scripts" / "partitions"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("partitions", loader))
    loader.exec_module(module)
    return module


FILES = script().FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_what_botocore_says(path):
    assert path.read_text() == FILES[path](), f"{path.name} differs from this botocore: run scripts/partitions"
