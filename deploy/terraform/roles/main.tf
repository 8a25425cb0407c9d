# The three roles of taskfault, from the policies in deploy/iam.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "prefix" {
  description = "What the names of the roles begin with"
  type        = string
  default     = "taskfault"
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  iam = "${path.module}/../../iam"

  documents = {
    for file in fileset(local.iam, "*-role.*.json") : trimsuffix(file, ".json") => replace(
      replace(
        replace(file("${local.iam}/${file}"), "ACCOUNT_ID", data.aws_caller_identity.current.account_id),
        "arn:aws:", "arn:${data.aws_partition.current.partition}:"
      ),
      "role/taskfault-managed-instance", "role/${var.prefix}-managed-instance"
    )
  }
}

resource "aws_iam_role" "this" {
  for_each           = toset(["task", "managed-instance", "experiment"])
  name               = "${var.prefix}-${each.key}"
  assume_role_policy = local.documents["${each.key}-role.trust"]
}

resource "aws_iam_role_policy" "this" {
  for_each = aws_iam_role.this
  name     = "taskfault"
  role     = each.value.id
  policy   = local.documents["${each.key}-role.policy"]
}

output "task_role_arn" {
  description = "taskRoleArn of the task definition"
  value       = aws_iam_role.this["task"].arn
}

output "managed_instance_role_name" {
  description = "What the sidecar registers with"
  value       = aws_iam_role.this["managed-instance"].name
}

output "experiment_role_arn" {
  description = "roleArn of experiment templates"
  value       = aws_iam_role.this["experiment"].arn
}

# For an application that has a task role already.
output "task_role_policy" {
  description = "The policy to attach to a task role of your own"
  value       = local.documents["task-role.policy"]
}
