"""The check that every answer keeps botocore's model, checked itself; and each operation once under it."""

import botocore.session
from conftest import departures, eventually

YAML = "schemaVersion: '2.2'\nmainSteps:\n- {name: only, action: 'aws:runShellScript', inputs: {runCommand: ['true']}}\n"
RUNBOOK = "schemaVersion: '0.3'\nmainSteps:\n- {name: only, action: 'aws:sleep', inputs: {Duration: PT1M}}\n"


def test_the_check_finds_departures():
    service = botocore.session.get_session().get_service_model("ssm")
    shape = service.operation_model("ListCommands").output_shape
    good = {"Commands": [{"Status": "Success", "RequestedDateTime": 1.5, "TargetCount": 1}]}
    assert list(departures(good, shape, "")) == []
    for bad in (
        {"Command": []},
        {"Commands": [{"Statuses": "Success"}]},
        {"Commands": [{"Status": "Done"}]},
        {"Commands": [{"RequestedDateTime": "now"}]},
        {"Commands": [{"TargetCount": True}]},
    ):
        assert list(departures(bad, shape, "")), bad


def test_every_operation_keeps_the_model(ssm, silent_instance):
    document = {"Name": "model-check", "Content": YAML, "DocumentFormat": "YAML"}
    ssm.create_document(**document, Tags=[{"Key": "a", "Value": "b"}])
    ssm.update_document(**{**document, "Content": YAML + "description: again\n"}, DocumentVersion="1")
    ssm.update_document_default_version(Name="model-check", DocumentVersion="2")
    ssm.describe_document(Name="model-check")
    ssm.get_document(Name="model-check", DocumentFormat="YAML")
    ssm.list_documents()
    ssm.list_document_versions(Name="model-check")
    ssm.list_tags_for_resource(ResourceType="Document", ResourceId="model-check")
    ssm.describe_instance_information()
    ssm.describe_activations()
    ssm.update_managed_instance_role(InstanceId=silent_instance, IamRole="other")
    sent = ssm.send_command(
        DocumentName="model-check",
        InstanceIds=[silent_instance],
        CloudWatchOutputConfig={"CloudWatchLogGroupName": "group", "CloudWatchOutputEnabled": True},
    )["Command"]
    ssm.list_commands(CommandId=sent["CommandId"])
    ssm.list_command_invocations(CommandId=sent["CommandId"], Details=True)
    ssm.get_command_invocation(CommandId=sent["CommandId"], InstanceId=silent_instance, PluginName="only")
    ssm.cancel_command(CommandId=sent["CommandId"])
    runbook = {"Name": "model-runbook", "Content": RUNBOOK, "DocumentFormat": "YAML", "DocumentType": "Automation"}
    ssm.create_document(**runbook)
    execution = {"AutomationExecutionId": ssm.start_automation_execution(DocumentName="model-runbook")["AutomationExecutionId"]}
    eventually(lambda: ssm.describe_automation_executions()["AutomationExecutionMetadataList"][0].get("CurrentAction"), "it runs")
    ssm.describe_automation_step_executions(**execution)
    ssm.stop_automation_execution(**execution)
    ssm.get_automation_execution(**execution)
    ssm.delete_document(Name="model-runbook")
    ssm.delete_document(Name="model-check", DocumentVersion="1")
    ssm.delete_document(Name="model-check")
