"""What deploy has for CloudFormation, CDK and Terraform: each against cfn-lint or a parser, and against the files that it
is made from. Terraform itself runs nowhere here; its modules are read, and every reference in them is followed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cfnlint.api
import hcl2
import parliament
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TEMPLATES = sorted((DEPLOY / "cloudformation").glob("*.yaml"))
MODULES = sorted(path.parent for path in (DEPLOY / "terraform").glob("*/main.tf"))
REGION = "us-west-2"


def findings(text):
    """What cfn-lint says of a template, as lines."""
    found = cfnlint.api.lint(text, config={"regions": [REGION]})
    return [f"{it.rule.id} {'/'.join(map(str, it.path or []))}: {it.message}" for it in found]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_are_sound(path):
    assert findings(path.read_text()) == []


def test_a_wrong_template_is_noticed():
    template = yaml.safe_load((DEPLOY / "cloudformation" / "service-fargate.yaml").read_text())
    template["Resources"]["TaskDefinition"]["Properties"]["Memory"] = "77"
    assert findings(yaml.safe_dump(template))


def resolved(value):
    """A value of a template as deploy/iam has it: with its placeholder, in the partition aws."""
    if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
        return value["Fn::Sub"].replace("${AWS::AccountId}", "ACCOUNT_ID").replace("${AWS::Partition}", "aws")
    if isinstance(value, dict):
        return {name: resolved(item) for name, item in value.items()}
    if isinstance(value, list):
        return [resolved(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("resource", "role"),
    [("TaskRole", "task"), ("ManagedInstanceRole", "managed-instance"), ("ExperimentRole", "experiment")],
)
def test_roles_of_cloudformation_are_those_of_deploy_iam(resource, role):
    template = yaml.safe_load((DEPLOY / "cloudformation" / "roles.yaml").read_text())
    made = template["Resources"][resource]["Properties"]
    assert made["RoleName"] == f"taskfault-{role}"
    iam = {kind: json.loads((DEPLOY / "iam" / f"{role}-role.{kind}.json").read_text()) for kind in ("trust", "policy")}
    assert resolved(made["AssumeRolePolicyDocument"]) == iam["trust"]
    assert [resolved(it["PolicyDocument"]) for it in made["Policies"]] == [iam["policy"]]


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    """The templates of deploy/cdk/app.py, by stack."""
    if not shutil.which("node"):
        if os.environ.get("CI"):
            pytest.fail("node is not installed (make deps)")
        pytest.skip("node is not installed (make deps)")
    out = tmp_path_factory.mktemp("cdk")
    environment = {**os.environ, "CDK_OUTDIR": str(out), "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1"}
    app = [sys.executable, str(DEPLOY / "cdk" / "app.py")]
    done = subprocess.run(app, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {path.name.partition(".")[0]: path.read_text() for path in out.glob("*.template.json")}


@pytest.mark.parametrize("kind", ["ec2", "fargate"])
def test_cdk_makes_a_sound_template(synthesised, kind):
    found = findings(synthesised[f"taskfault-{kind}"])
    # What the library itself writes is not ours to mend: W are its habits.
    assert [line for line in found if line.startswith("E")] == []


@pytest.mark.parametrize("kind", ["ec2", "fargate"])
def test_cdk_has_the_sidecar_and_its_rights(synthesised, kind):
    resources = json.loads(synthesised[f"taskfault-{kind}"])["Resources"].values()
    of_type = lambda name: [it["Properties"] for it in resources if it["Type"] == name]
    (definition,) = of_type("AWS::ECS::TaskDefinition")
    assert (definition["PidMode"], definition["EnableFaultInjection"], definition["NetworkMode"]) == ("task", True, "awsvpc")
    (sidecar,) = [it for it in definition["ContainerDefinitions"] if it["Name"] == "taskfault"]
    example = json.loads((ROOT / "task-definition.json").read_text())
    (example,) = [it for it in example["containerDefinitions"] if it["name"] == "taskfault"]
    assert sidecar["Command"] == example["command"]
    assert sidecar["HealthCheck"]["Command"] == example["healthCheck"]["command"]
    assert sidecar["LogConfiguration"]["Options"]["mode"] == "non-blocking"
    assert (sidecar["User"], sidecar["ReadonlyRootFilesystem"]) == (example["user"], True)
    mounts = {mount["SourceVolume"]: mount["ContainerPath"] for mount in sidecar["MountPoints"]}
    assert mounts == {mount["sourceVolume"]: mount["containerPath"] for mount in example["mountPoints"]}
    assert definition["Volumes"] == [{"Name": name} for name in mounts]
    added = sidecar.get("LinuxParameters", {}).get("Capabilities", {}).get("Add", [])
    assert ("NET_ADMIN" in added) == (kind == "ec2")
    roles = {it["RoleName"]: it for it in of_type("AWS::IAM::Role") if "RoleName" in it}
    for role in ("managed-instance", "experiment"):
        policy = json.loads((DEPLOY / "iam" / f"{role}-role.policy.json").read_text())
        (made,) = roles[f"taskfault-{role}"]["Policies"]
        assert joined(made["PolicyDocument"]) == policy
    task = json.loads((DEPLOY / "iam" / "task-role.policy.json").read_text())
    wanted = {statement["Sid"]: statement for statement in task["Statement"]}
    granted = [it for policy in of_type("AWS::IAM::Policy") for it in policy["PolicyDocument"]["Statement"]]
    of_task = {it["Sid"]: it for it in map(joined, granted) if it.get("Sid") in wanted}
    assert of_task == wanted


def joined(value):
    """Joins of a template as texts, with the placeholder of deploy/iam."""
    names = {"AWS::AccountId": "ACCOUNT_ID", "AWS::Partition": "aws"}
    if isinstance(value, dict) and set(value) == {"Fn::Join"}:
        between, parts = value["Fn::Join"]
        return between.join(joined(part) for part in parts)
    if isinstance(value, dict) and set(value) == {"Ref"}:
        return names.get(value["Ref"], value["Ref"])
    if isinstance(value, dict):
        return {name: joined(item) for name, item in value.items()}
    if isinstance(value, list):
        return [joined(item) for item in value]
    return value


def parsed(module):
    return hcl2.loads((module / "main.tf").read_text())


def names(module, kind):
    """The names of a module's variables, locals or outputs."""
    blocks = parsed(module).get(kind, [])
    return {name.strip('"') for block in blocks for name in block if not name.startswith("__")}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_terraform_modules_are_read_and_name_what_is_there(module):
    text = (module / "main.tf").read_text()
    code = re.sub(r"(?m)^#.*$", "", text)
    assert set(re.findall(r"\bvar\.(\w+)", code)) == names(module, "variable")
    assert set(re.findall(r"\blocal\.(\w+)", code)) == names(module, "locals")
    resources = re.findall(r'^(?:resource|data) "(\w+)" "(\w+)"', code, re.MULTILINE)
    for kind, name in re.findall(r"\b(?:data\.)?(aws_\w+)\.(\w+)\b", code):
        assert (kind, name) in resources, f"{kind}.{name}"
    for path in re.findall(r'"\$\{path\.module\}/([^"$]+)"', code):
        assert (module / path).exists(), path
    # As `terraform fmt` has it, as far as can be told without it: two blanks a level, no tab, no blank at the end.
    for line in text.splitlines():
        assert "\t" not in line and line == line.rstrip() and (len(line) - len(line.lstrip())) % 2 == 0, line


def test_terraform_writes_the_policies_of_deploy_iam():
    (module,) = [module for module in MODULES if module.name == "roles"]
    code = (module / "main.tf").read_text()
    assert '"${path.module}/../../iam"' in code and '"*-role.*.json"' in code
    # What the module replaces is there to be replaced.
    iam = "".join(path.read_text() for path in (DEPLOY / "iam").glob("*.json"))
    for replaced in re.findall(r'"(ACCOUNT_ID|arn:aws:|role/taskfault-managed-instance)",', code):
        assert replaced in iam
    assert len(re.findall(r"\breplace\(", code)) == 3


def test_an_hcl_that_is_none_is_noticed():
    with pytest.raises(Exception):
        hcl2.loads('resource "a" "b" { c = }')


@pytest.mark.parametrize("path", sorted((DEPLOY / "iam").glob("*policy.json")), ids=lambda path: path.name)
def test_policies_of_every_partition_are_sound(path):
    for partition in ("aws", "aws-cn", "aws-us-gov"):
        text = path.read_text().replace("ACCOUNT_ID", "111122223333").replace("arn:aws:", f"arn:{partition}:")
        found = parliament.analyze_policy_string(text).findings
        # The linter knows the ARNs of the partition aws alone.
        others = [it for it in found if partition == "aws" or it.issue != "INVALID_ARN"]
        assert not others, [(it.issue, it.detail) for it in others]
