"""The tables of the services' models are what scripts/aws-models makes of the botocore that is installed."""

import json

import botocore.loaders
import pytest
from conftest import script

MODELS = script("aws-models")
WANTED = dict(MODELS.files())


@pytest.mark.parametrize("name", WANTED)
def test_the_table_is_what_botocore_says(name):
    found = (MODELS.FOLDER / name).read_text()
    assert found == WANTED[name], f"{name} differs from this botocore: run scripts/aws-models and read the diff"


def test_there_are_no_other_tables():
    assert {path.name for path in MODELS.FOLDER.glob("*.json")} == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_a_table_loses_nothing_of_an_input(name):
    """Read independently of the script: each shape of an input, with all that limits it."""
    service = name.removesuffix(".json")
    table = json.loads(WANTED[name])
    model = botocore.loaders.create_loader().load_service_model(service, "service-2")
    waiting = [model["operations"][operation].get("input", {}).get("shape") for operation in table["operations"]]
    seen = set()
    while waiting:
        shape = waiting.pop()
        if shape is None or shape in seen:
            continue
        seen.add(shape)
        said, kept = model["shapes"][shape], table["shapes"][shape]
        for trait in ("required", "min", "max", "pattern", "enum"):
            assert kept.get(trait) == (said.get(trait) or None), f"{shape}.{trait}"
        parts = [said[part]["shape"] for part in ("member", "key", "value") if part in said]
        if kept["type"] != "document":
            assert kept["type"] == said["type"]
            assert set(kept.get("members", {})) == set(said.get("members", {})), shape
            parts += [member["shape"] for member in said.get("members", {}).values()]
        waiting += parts


def test_a_trait_that_no_codec_knows_ends_the_script():
    model = {
        "metadata": {"apiVersion": "2026-01-01", "protocol": "query", "protocols": ["query"]},
        "operations": {name: {"input": {"shape": "Input"}} for name in MODELS.OPERATIONS["sts"].split()},
        "shapes": {
            "Input": {"type": "structure", "members": {"Names": {"shape": "Names", "flattened": True}}},
            "Names": {"type": "list", "member": {"shape": "Name"}},
            "Name": {"type": "string"},
        },
    }
    with pytest.raises(SystemExit, match="flattened"):
        MODELS.Service("sts", model).table()
