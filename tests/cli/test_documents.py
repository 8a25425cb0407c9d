"""The document store."""

import json
import uuid

import botocore.exceptions
import pytest
from conftest import ACCOUNT, REGION

FAULTS = {
    "AWSFIS-Run-CPU-Stress",
    "AWSFIS-Run-Disk-Fill",
    "AWSFIS-Run-IO-Stress",
    "AWSFIS-Run-Kill-Process",
    "AWSFIS-Run-Memory-Stress",
    "AWSFIS-Run-Network-Blackhole-Port",
    "AWSFIS-Run-Network-Blackhole-Port-ECS",
    "AWSFIS-Run-Network-Latency",
    "AWSFIS-Run-Network-Latency-ECS",
    "AWSFIS-Run-Network-Latency-Sources",
    "AWSFIS-Run-Network-Packet-Loss",
    "AWSFIS-Run-Network-Packet-Loss-ECS",
    "AWSFIS-Run-Network-Packet-Loss-Sources",
}

YAML = """\
schemaVersion: '2.2'
description: says hello
parameters:
  Who:
    type: String
    default: you
mainSteps:
- name: hello
  action: aws:runShellScript
  inputs:
    runCommand:
    - echo {greeting} {{{{ Who }}}}
"""


@pytest.fixture
def name(ssm):
    """A name for a document, which is gone afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    try:
        ssm.delete_document(Name=name)
    except ssm.exceptions.InvalidDocument:
        pass


def test_the_fault_documents_are_there(aws):
    listed = aws("ssm", "list-documents", "--filters", "Key=Name,Values=AWSFIS-Run-", "Key=Owner,Values=Amazon")
    assert {document["Name"] for document in listed["DocumentIdentifiers"]} == FAULTS


def test_pages_are_followed_by_the_client(ssm):
    pages = ssm.get_paginator("list_documents").paginate(PaginationConfig={"PageSize": 4})
    seen = [document["Name"] for page in pages for document in page["DocumentIdentifiers"]]
    assert FAULTS <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("prefix", ["", f"arn:aws:ssm:{REGION}::document/"])
def test_a_fault_document_is_described(aws, prefix):
    document = aws("ssm", "describe-document", "--name", prefix + "AWSFIS-Run-CPU-Stress")["Document"]
    assert document["Name"] == "AWSFIS-Run-CPU-Stress"
    assert document["Owner"] == "Amazon"
    assert document["PlatformTypes"] == ["Linux"]
    defaults = {parameter["Name"]: parameter.get("DefaultValue") for parameter in document["Parameters"]}
    assert defaults == {"DurationSeconds": None, "CPU": "0", "LoadPercent": "100", "InstallDependencies": "True"}


def test_a_fault_document_is_a_stand_in_of_two_steps(ssm):
    document = ssm.get_document(Name="AWSFIS-Run-IO-Stress")
    content = json.loads(document["Content"])
    assert content["schemaVersion"] == "2.2"
    assert [step["name"] for step in content["mainSteps"]] == ["InstallDependencies", "FaultInjection"]
    for step in content["mainSteps"]:
        assert step["precondition"] == {"StringEquals": ["platformType", "Linux"]}
        assert step["inputs"]["runCommand"][-1] == "exit 1"


def test_a_document_through_the_cli(aws, name, tmp_path):
    file = tmp_path / "document.yaml"
    file.write_text(YAML.format(greeting="hello"))
    made = aws(
        "ssm", "create-document", "--name", name, "--content", f"file://{file}",
        "--document-format", "YAML", "--document-type", "Command", "--tags", "Key=DocUse,Value=Testing",
    )["DocumentDescription"]  # fmt: skip
    assert made["Owner"] == ACCOUNT
    assert made["DocumentFormat"] == "YAML"
    assert made["Parameters"] == [{"Name": "Who", "Type": "String", "DefaultValue": "you"}]
    again = aws.refused(
        "ssm", "create-document", "--name", name, "--content", f"file://{file}", "--document-format", "YAML"
    )
    assert "(DocumentAlreadyExists)" in again
    listed = aws(
        "ssm", "list-documents", "--filters", "Key=Owner,Values=Self", "Key=tag:DocUse,Values=Testing",
        f"Key=Name,Values={name}",
    )  # fmt: skip
    assert [document["Name"] for document in listed["DocumentIdentifiers"]] == [name]
    assert aws("ssm", "get-document", "--name", name, "--document-format", "YAML")["Content"] == file.read_text()
    assert json.loads(aws("ssm", "get-document", "--name", name)["Content"])["description"] == "says hello"

    file.write_text(YAML.format(greeting="good day,"))
    updated = aws(
        "ssm", "update-document", "--name", name, "--content", f"file://{file}",
        "--document-format", "YAML", "--document-version", "$LATEST",
    )["DocumentDescription"]  # fmt: skip
    assert (updated["LatestVersion"], updated["DefaultVersion"]) == ("2", "1")
    aws("ssm", "update-document-default-version", "--name", name, "--document-version", "2")
    assert aws("ssm", "get-document", "--name", name)["DocumentVersion"] == "2"
    assert aws("ssm", "delete-document", "--name", name) is None
    assert "(InvalidDocument)" in aws.refused("ssm", "get-document", "--name", name)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "ValidationException"),
        ("not json", "InvalidDocumentContent"),
        ("{}", "InvalidDocumentSchemaVersion"),
        ('{"schemaVersion": "2.2", "mainSteps": []}', "InvalidDocumentContent"),
        ('{"schemaVersion": "2.2", "mainSteps": [{"name": "a"}]}', "InvalidDocumentContent"),
        (json.dumps({"schemaVersion": "2.2", "description": "x" * 70_000}), "MaxDocumentSizeExceeded"),
    ],
)
def test_bad_documents_are_refused(ssm, name, content, expected):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        ssm.create_document(Name=name, Content=content)
    assert refused.value.response["Error"]["Code"] == expected
    with pytest.raises(ssm.exceptions.InvalidDocument):
        ssm.get_document(Name=name)


def test_the_built_in_documents_cannot_be_changed(aws):
    assert "(InvalidDocument)" in aws.refused("ssm", "delete-document", "--name", "AWSFIS-Run-CPU-Stress")
