"""What the sidecar knows of AWS's partitions is what scripts/partitions makes of the botocore that is installed."""

import pytest
from conftest import script

FILES = script("partitions").FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_what_botocore_says(path):
    assert path.read_text() == FILES[path](), f"{path.name} differs from this botocore: run scripts/partitions"
