#!/bin/sh
# The way of a team that tries the ECS task actions for the first time: a role, an alarm as a stop condition,
# CPU stress on part of a service, the end of one task's application, and everything put away again. Nothing in
# it is for a laptop: it is the ordinary AWS CLI, sent to where AWS_ENDPOINT_URL says.
#
#   walkthrough.sh FOLDER      FOLDER takes the templates with account and region filled in
#
# Prints one line per experiment: its name, its id, and the status it ended with.
set -eu

here=$(dirname "$0")
folder=$1
export AWS_PAGER=
export AWS_DEFAULT_OUTPUT=json
alarm='ECS Sample service task count alarm'
role=ecs-task-fis-role

account=$(aws sts get-caller-identity --query Account --output text)

# What experiments run as.
aws iam create-role --role-name "$role" \
    --assume-role-policy-document "file://$here/trust.json" >"$folder/role.json"
aws iam put-role-policy --role-name "$role" --policy-name ecs-task-fis-policy \
    --policy-document "file://$here/permissions.json"

# What stops them: fewer than two tasks.
aws cloudwatch put-metric-alarm --alarm-name "$alarm" \
    --alarm-description 'Fewer than two tasks of fis-service are running' \
    --namespace ECS/ContainerInsights --metric-name RunningTaskCount --statistic Average \
    --dimensions '[{"Name": "ClusterName", "Value": "ecs-blueprint-infra"},
                   {"Name": "ServiceName", "Value": "fis-service"}]' \
    --period 60 --evaluation-periods 1 --datapoints-to-alarm 1 \
    --threshold 2 --comparison-operator LessThanThreshold --treat-missing-data missing

# An alarm that is in ALARM stops an experiment before it has begun, and the minute in which the service started
# still counts as one with too few tasks.
tries=0
while state=$(aws cloudwatch describe-alarms --alarm-names "$alarm" --query 'MetricAlarms[0].StateValue' --output text)
    [ "$state" != OK ]; do
    tries=$((tries + 1))
    [ "$tries" -le 180 ] || { echo "the alarm '$alarm' is in $state, not OK" >&2; exit 1; }
    sleep 1
done

# run NAME: makes the template NAME.json, starts it and waits for its end.
run() {
    sed -e "s/ACCOUNT/$account/" -e "s/REGION/$AWS_DEFAULT_REGION/" "$here/$1.json" >"$folder/$1.json"
    template=$(aws fis create-experiment-template --cli-input-json "file://$folder/$1.json" \
        --tags "Name=$1" --query experimentTemplate.id --output text)
    experiment=$(aws fis start-experiment --experiment-template-id "$template" \
        --tags "Name=$1" --query experiment.id --output text)
    while :; do
        status=$(aws fis get-experiment --id "$experiment" --query experiment.state.status --output text)
        case $status in
            completed | stopped | failed | cancelled) break ;;
        esac
        sleep 1
    done
    echo "$1 $experiment $status"
}

run cpu-stress
run kill-process

# Everything is put away. A template is found again by its description.
forget() {
    template=$(aws fis list-experiment-templates \
        --query "experimentTemplates[?description=='$1'].id" --output text)
    aws fis delete-experiment-template --id "$template" >/dev/null
}

forget 'CPU stress on part of fis-service'
forget 'Kill the application of one task of fis-service'
aws cloudwatch delete-alarms --alarm-names "$alarm"
aws iam delete-role-policy --role-name "$role" --policy-name ecs-task-fis-policy
aws iam delete-role --role-name "$role"
