"""Every operation of FIS with the unmodified AWS CLI and boto3: shapes, refusals, pages, tokens."""

import copy
import re
import uuid

import botocore.config
import botocore.exceptions
import botocore.session
import pytest
from conftest import ACCOUNT, REGION, SEEDED_ROLE_ARN, eventually, keeps_the_model

# The one that a local AWS brings along.
ROLE = SEEDED_ROLE_ARN
STRESS = {
    "actionId": "aws:ecs:task-cpu-stress",
    "parameters": {"duration": "PT5M"},
    "targets": {"Tasks": "tasks"},
}
TASKS = {"resourceType": "aws:ecs:task", "selectionMode": "ALL", "parameters": {"cluster": "nowhere"}}
WAIT = {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}}


def request(**changes):
    """CreateExperimentTemplate in order, with some members changed; None takes one out."""
    body = {
        "clientToken": str(uuid.uuid4()),
        "description": "a test",
        "roleArn": ROLE,
        "stopConditions": [{"source": "none"}],
        "targets": {"tasks": TASKS},
        "actions": {"stress": STRESS},
    } | changes
    return {name: copy.deepcopy(value) for name, value in body.items() if value is not None}


@pytest.fixture(scope="module")
def fis(session, server):
    config = botocore.config.Config(parameter_validation=False, retries={"max_attempts": 0})
    client = session.client("fis", endpoint_url=server, config=config)
    client.meta.events.register("before-parse.fis.*", keeps_the_model)
    return client


@pytest.fixture
def create(fis):
    """Creates templates, and deletes those that the test has left."""
    made = []

    def create(**changes):
        template = fis.create_experiment_template(**request(**changes))["experimentTemplate"]
        made.append(template["id"])
        return template

    yield create
    for template in made:
        try:
            fis.delete_experiment_template(id=template)
        except fis.exceptions.ResourceNotFoundException:
            pass


def refused(call, *arguments, **members):
    """The code, the HTTP status and the sentence of a call that must be refused."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(*arguments, **members)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_every_operation_is_here(fis):
    model = botocore.session.get_session().get_service_model("fis")
    assert len(model.operation_names) == 26
    arn = f"arn:aws:fis:{REGION}:{ACCOUNT}:experiment/EXPnothing"
    values = {"id": "EXTnothing", "resourceArn": arn, "accountId": ACCOUNT}
    for name in model.operation_names:
        shape = model.operation_model(name).input_shape
        members = {}
        for member, about in shape.members.items():
            if about.serialization.get("location") == "uri":
                members[member] = values.get(about.serialization["name"], "nothing")
        try:
            getattr(fis, botocore.xform_name(name))(**members)
        except botocore.exceptions.ClientError as error:
            # Refused by the operation itself, with one of the service's codes.
            assert error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFoundException"), name


def test_a_template_lives_through_the_cli(aws):
    made = aws(
        "fis", "create-experiment-template", "--description", "through the CLI", "--role-arn", ROLE,
        "--stop-conditions", "source=none", "--actions", '{"wait": {"actionId": "aws:fis:wait", '
        '"parameters": {"duration": "PT1M"}}}', "--tags", "Name=cli",
    )["experimentTemplate"]  # fmt: skip
    assert re.fullmatch(r"EXT[A-Za-z0-9]{15}", made["id"])
    assert made["arn"] == f"arn:aws:fis:{REGION}:{ACCOUNT}:experiment-template/{made['id']}"
    assert made["tags"] == {"Name": "cli"}
    assert made["experimentOptions"] == {"accountTargeting": "single-account", "emptyTargetResolutionMode": "fail"}
    found = aws("fis", "get-experiment-template", "--id", made["id"])["experimentTemplate"]
    assert found == made
    ids = aws(
        "fis", "list-experiment-templates", "--query", "experimentTemplates[?description=='through the CLI'].id"
    )
    assert ids == [made["id"]]
    changed = aws("fis", "update-experiment-template", "--id", made["id"], "--description", "changed")
    assert changed["experimentTemplate"]["description"] == "changed"
    assert changed["experimentTemplate"]["actions"] == made["actions"]
    aws("fis", "tag-resource", "--resource-arn", made["arn"], "--tags", "a=b,c=d")
    aws("fis", "untag-resource", "--resource-arn", made["arn"], "--tag-keys", "a", "Name")
    assert aws("fis", "list-tags-for-resource", "--resource-arn", made["arn"])["tags"] == {"c": "d"}
    assert aws("fis", "delete-experiment-template", "--id", made["id"])["experimentTemplate"]["id"] == made["id"]
    assert "ResourceNotFoundException" in aws.refused("fis", "get-experiment-template", "--id", made["id"])


def test_actions_and_resource_types_are_described(aws, fis):
    actions = [action["id"] for action in fis.list_actions()["actions"]]
    assert len([action for action in actions if action.startswith("aws:ecs:task-")]) == 6
    assert {"aws:ecs:stop-task", "aws:fis:wait"} <= set(actions)
    stress = aws("fis", "get-action", "--id", "aws:ecs:task-cpu-stress")["action"]
    assert stress["targets"] == {"Tasks": {"resourceType": "aws:ecs:task"}}
    required = [name for name, about in stress["parameters"].items() if about["required"]]
    assert required == ["duration"]
    kinds = [kind["resourceType"] for kind in fis.list_target_resource_types()["targetResourceTypes"]]
    assert {"aws:ec2:instance", "aws:ecs:task"} <= set(kinds)
    known = aws("fis", "get-target-resource-type", "--resource-type", "aws:ecs:task")["targetResourceType"]
    assert known["parameters"].keys() == {"cluster", "service"}
    assert refused(fis.get_action, id="aws:ec2:stop-instances")[:2] == ("ResourceNotFoundException", 404)


def target(**changes):
    return {"targets": {"tasks": {name: value for name, value in (TASKS | changes).items() if value is not None}}}


def stress(**changes):
    return {"actions": {"stress": STRESS | changes}}


def with_parameters(action, **parameters):
    return {"actions": {"one": {"actionId": action, "parameters": parameters, "targets": {"Tasks": "tasks"}}}}


ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:a name with blanks"
TASK = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/demo/1"
MISTAKES = {
    "no description": ({"description": None}, "description"),
    "long description": ({"description": "d" * 513}, "less than or equal to 512"),
    "no actions": ({"actions": {}}, "at least one action"),
    "no stop conditions": ({"stopConditions": []}, '"source": "none"'),
    "stop source": ({"stopConditions": [{"source": "aws:cloudwatch:alarms"}]}, "neither none nor"),
    "alarm by name": ({"stopConditions": [{"source": "aws:cloudwatch:alarm", "value": "a name of twenty letters"}]}, "ARN of an alarm"),
    "alarm without value": ({"stopConditions": [{"source": "aws:cloudwatch:alarm"}]}, "needs an alarm's ARN"),
    "none with value": ({"stopConditions": [{"source": "none", "value": ALARM}]}, "takes no value"),
    "role by name": ({"roleArn": "just-the-name-of-a-role"}, "ARN of a role"),
    "action name with a blank": ({"actions": {"my stress": STRESS}}, "Map keys"),
    "no slot": (stress(targets={}), '"Tasks"'),
    "wrong slot": (stress(targets={"Instances": "tasks"}), "Unexpected target Instances found in action"),
    "unknown target": (stress(targets={"Tasks": "other"}), "it has: tasks"),
    "unknown parameter": (stress(parameters={"duration": "PT5M", "load": "50"}), "percent, workers"),
    "missing parameter": (stress(parameters={}), "needs the parameter 'duration'"),
    "percent": (stress(parameters={"duration": "PT5M", "percent": "101"}), "0 to 100"),
    "duration in words": (stress(parameters={"duration": "5m"}), "PT5M is five minutes"),
    "duration too long": (stress(parameters={"duration": "PT13H"}), "PT12H"),
    "duration of nothing": (stress(parameters={"duration": "PT0S"}), "not nothing"),
    "wait under a minute": ({"actions": {"w": WAIT | {"parameters": {"duration": "PT30S"}}}}, "PT1M"),
    "wait with targets": ({"actions": {"w": WAIT | {"targets": {"Tasks": "tasks"}}}}, "takes no targets"),
    "startAfter nobody": (stress(startAfter=["other"]), "none of the actions: stress"),
    "startAfter itself": (stress(startAfter=["stress"]), "the action itself"),
    "circle": ({"actions": {"a": WAIT | {"startAfter": ["b"]}, "b": WAIT | {"startAfter": ["a"]}}}, "circle"),
    "too long in all": ({"actions": {"a": WAIT | {"parameters": {"duration": "PT12H"}}, "b": WAIT | {"startAfter": ["a"]}}}, "12 hours at most"),
    "resource type": (target(resourceType="aws:rds:cluster"), "slot 'Tasks' takes aws:ecs:task"),
    "selection mode": (target(selectionMode="PERCENT(66%)"), "PERCENT(n)"),
    "count of nothing": (target(selectionMode="COUNT(0)"), "COUNT(n)"),
    "target parameter": (target(parameters={"clusterName": "demo"}), "it has cluster, service"),
    "arns and tags": (target(parameters=None, resourceArns=[TASK], resourceTags={"a": "b"}), "You cannot specify both resource ARNs and resource tags for target tasks"),
    "six arns": (target(parameters=None, resourceArns=[f"{TASK}{n}" for n in range(6)]), "less than or equal to 5"),
    "arn of a service": (target(parameters=None, resourceArns=[TASK.replace("task/", "service/")]), "ARN of an aws:ecs:task"),
    "nothing to find by": (target(parameters=None), "to be found by"),
    "camel case filter": (target(filters=[{"path": "containers.name", "values": ["app"]}]), "Pascal case"),
    "filter without values": (target(filters=[{"path": "LaunchType", "values": []}]), "at least one value"),
    "process with a path": (with_parameters("aws:ecs:task-kill-process", processName="/usr/bin/python"), "not a path"),
    "signal": (with_parameters("aws:ecs:task-kill-process", processName="python", signal="SIGHUP"), "SIGTERM or SIGKILL"),
    "port": (with_parameters("aws:ecs:task-network-blackhole-port", duration="PT1M", trafficType="egress", port="65536"), "1 to 65535"),
    "direction": (with_parameters("aws:ecs:task-network-blackhole-port", duration="PT1M", port="80", trafficType="both"), "ingress or egress"),
    "sources": (with_parameters("aws:ecs:task-network-latency", duration="PT1M", sources="a.example,,b.example"), "commas between"),
    "flag": (with_parameters("aws:ecs:task-network-latency", duration="PT1M", useEcsFaultInjectionEndpoints="yes"), "true or false"),
    "empty mode": ({"experimentOptions": {"emptyTargetResolutionMode": "ignore"}}, "enum value set"),
    "log schema": ({"logConfiguration": {"logSchemaVersion": 3}}, "less than or equal to 2"),
    "log group by name": ({"logConfiguration": {"logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": "/a/log/group/by/its/name"}}}, "ARN of a log group"),
    "reserved tag": ({"tags": {"aws:x": "y"}}, "reserved"),
    "tags": ({"tags": {str(number): "" for number in range(51)}}, "less than or equal to 50"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_template_with_a_mistake_is_refused_with_a_hint(fis, mistake):
    changes, hint = MISTAKES[mistake]
    before = len(fis.list_experiment_templates()["experimentTemplates"])
    code, status, message = refused(fis.create_experiment_template, **request(**changes))
    assert (code, status) == ("ValidationException", 400), message
    assert hint in message
    assert len(fis.list_experiment_templates()["experimentTemplates"]) == before


@pytest.mark.parametrize(
    ("action", "hint"),
    [("aws:ecs:task-cpu-stres", "Did you mean aws:ecs:task-cpu-stress?"), ("aws:ec2:reboot", ""), ("made-up", "")],
)
def test_an_action_that_there_is_not(fis, action, hint):
    code, status, message = refused(fis.create_experiment_template, **request(**stress(actionId=action)))
    assert (code, status) == ("ResourceNotFoundException", 404), message
    assert message.startswith(f"Action with ID {action} not found.") and hint in message


# As published: stops instances of EC2, drains EKS, and stresses the tasks.
ELSEWHERE = {
    "targets": {
        "instances": {"resourceType": "aws:ec2:instance", "resourceTags": {"a": "b"}, "selectionMode": "ALL"},
        "databases": {
            "resourceType": "aws:rds:cluster", "resourceArns": [f"arn:aws:rds:{REGION}:{ACCOUNT}:cluster:db"],
            "selectionMode": "ALL",
        },
    },
    "actions": {
        "instances": {
            "actionId": "aws:ec2:stop-instances", "parameters": {"startInstancesAfterDuration": "PT1M"},
            "targets": {"Instances": "instances"},
        },
        "database": {"actionId": "aws:rds:failover-db-cluster", "targets": {"Clusters": "databases"}},
        "wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}, "startAfter": ["instances"]},
    },
}  # fmt: skip


@pytest.mark.parametrize("mode", ["skip", "fail"])
def test_what_has_no_target_here_is_skipped_or_fails(fis, mode):
    options = {"experimentOptions": {"emptyTargetResolutionMode": mode, "accountTargeting": "single-account"}}
    template = fis.create_experiment_template(**request(**ELSEWHERE, **options))["experimentTemplate"]
    assert template["actions"]["instances"]["parameters"] == {"startInstancesAfterDuration": "PT1M"}
    id = fis.start_experiment(clientToken=mode, experimentTemplateId=template["id"])["experiment"]["id"]
    status = lambda: fis.get_experiment(id=id)["experiment"]
    if mode == "fail":
        ended = eventually(lambda: status()["state"]["status"] == "failed" and status(), "the experiment fails")
        assert ended["state"]["error"]["code"] == "InvalidTarget"
        return
    actions = lambda: {name: action["state"]["status"] for name, action in status()["actions"].items()}
    skipped = {"instances": "skipped", "database": "skipped", "wait": "running"}
    eventually(lambda: actions() == skipped, "the others are skipped")
    fis.stop_experiment(id=id)


def test_quotas_of_a_template(fis):
    many = {"stopConditions": [{"source": "aws:cloudwatch:alarm", "value": f"{ALARM}{n}"} for n in range(6)]}
    assert refused(fis.create_experiment_template, **request(**many))[:2] == ("ServiceQuotaExceededException", 402)
    many = {"actions": {f"wait{number}": WAIT for number in range(21)}}
    assert refused(fis.create_experiment_template, **request(**many))[:2] == ("ServiceQuotaExceededException", 402)


def test_an_update_replaces_what_is_sent_and_is_checked_as_a_whole(fis, create):
    template = create()["id"]
    code, _, message = refused(fis.update_experiment_template, id=template, targets={})
    assert code == "ValidationException" and "there is no target 'tasks'" in message
    logs = {"logSchemaVersion": 2, "cloudWatchLogsConfiguration": {"logGroupArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:fis:*"}}
    changed = fis.update_experiment_template(
        id=template, logConfiguration=logs, experimentOptions={"emptyTargetResolutionMode": "skip"}
    )["experimentTemplate"]
    assert changed["logConfiguration"] == logs
    assert changed["experimentOptions"]["emptyTargetResolutionMode"] == "skip"
    assert changed["lastUpdateTime"] > changed["creationTime"]
    changed = fis.update_experiment_template(id=template, logConfiguration={})["experimentTemplate"]
    assert "logConfiguration" not in changed


def test_a_client_token_makes_one_thing(fis, create):
    body = request(clientToken=str(uuid.uuid4()))
    first = fis.create_experiment_template(**body)["experimentTemplate"]
    assert fis.create_experiment_template(**body)["experimentTemplate"]["id"] == first["id"]
    code, status, message = refused(fis.create_experiment_template, **(body | {"description": "other"}))
    assert (code, status) == ("ConflictException", 409) and first["id"] in message
    fis.delete_experiment_template(id=first["id"])


def test_pages(fis, create):
    made = {create()["id"] for _ in range(5)}
    seen, token, pages = set(), {}, 0
    while True:
        page = fis.list_experiment_templates(maxResults=2, **token)
        assert len(page["experimentTemplates"]) <= 2
        seen |= {template["id"] for template in page["experimentTemplates"]}
        pages += 1
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert made <= seen and pages >= 3
    assert refused(fis.list_experiment_templates, maxResults=101)[0] == "ValidationException"
    assert refused(fis.list_experiment_templates, nextToken="nonsense")[0] == "ValidationException"


def test_account_configurations(fis, create):
    single = create()["id"]
    other = {"accountId": "111122223333", "roleArn": "arn:aws:iam::111122223333:role/fis"}
    code, _, message = refused(fis.create_target_account_configuration, experimentTemplateId=single, **other)
    assert code == "ValidationException" and "multi-account" in message
    template = create(experimentOptions={"accountTargeting": "multi-account"})["id"]
    code, _, message = refused(fis.start_experiment, experimentTemplateId=template, clientToken="multi")
    assert code == "ValidationException" and "create-target-account-configuration" in message
    one = {"experimentTemplateId": template}
    fis.create_target_account_configuration(**one, **other)
    assert refused(fis.create_target_account_configuration, **one, **other)[0] == "ConflictException"
    fis.update_target_account_configuration(**one, accountId=other["accountId"], description="told")
    wanted = other | {"description": "told"}
    got = fis.get_target_account_configuration(**one, accountId=other["accountId"])["targetAccountConfiguration"]
    assert got == wanted
    assert fis.list_target_account_configurations(**one)["targetAccountConfigurations"] == [wanted]
    assert fis.get_experiment_template(id=template)["experimentTemplate"]["targetAccountConfigurationsCount"] == 1
    experiment = fis.start_experiment(experimentTemplateId=template, clientToken="multi")["experiment"]["id"]
    listed = fis.list_experiment_target_account_configurations(experimentId=experiment)
    assert listed["targetAccountConfigurations"] == [wanted]
    got = fis.get_experiment_target_account_configuration(experimentId=experiment, accountId=other["accountId"])
    assert got["targetAccountConfiguration"] == wanted
    fis.delete_target_account_configuration(**one, accountId=other["accountId"])
    gone = refused(fis.get_target_account_configuration, **one, accountId=other["accountId"])
    assert gone[:2] == ("ResourceNotFoundException", 404)


def test_what_is_not_there(fis):
    for call, members in [
        (fis.get_experiment, {"id": "EXPnothing"}),
        (fis.stop_experiment, {"id": "EXPnothing"}),
        (fis.start_experiment, {"experimentTemplateId": "EXTnothing", "clientToken": "x"}),
        (fis.delete_experiment_template, {"id": "EXTnothing"}),
        (fis.list_experiment_resolved_targets, {"experimentId": "EXPnothing"}),
        (fis.get_safety_lever, {"id": "other"}),
        (fis.list_tags_for_resource, {"resourceArn": "arn:aws:fis:eu-west-1:000000000000:experiment/EXPnothing"}),
    ]:
        assert refused(call, **members)[:2] == ("ResourceNotFoundException", 404), members


def test_a_stop_condition_needs_its_alarm(fis, create):
    template = create(stopConditions=[{"source": "aws:cloudwatch:alarm", "value": ALARM}])["id"]
    code, _, message = refused(fis.start_experiment, experimentTemplateId=template, clientToken="alarm")
    assert code == "ValidationException" and "put-metric-alarm" in message
