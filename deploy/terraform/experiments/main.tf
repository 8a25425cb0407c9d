# Experiment templates on a service with the sidecar, from the templates in deploy/compose.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "cluster" {
  description = "Name of the cluster"
  type        = string
}

variable "service" {
  description = "Name of the service"
  type        = string
}

variable "experiment_role_arn" {
  description = "Output experiment_role_arn of the module roles"
  type        = string
}

variable "stop_alarm_arn" {
  description = "The alarm that stops an experiment"
  type        = string
}

variable "process_name" {
  description = "Name of the application's process, which kill-process kills"
  type        = string
}

locals {
  templates = {
    for name in ["cpu-stress", "kill-process"] : name => jsondecode(file("${path.module}/../../compose/${name}.json"))
  }
}

resource "aws_fis_experiment_template" "this" {
  for_each    = local.templates
  description = each.value.description
  role_arn    = var.experiment_role_arn

  stop_condition {
    source = "aws:cloudwatch:alarm"
    value  = var.stop_alarm_arn
  }

  dynamic "action" {
    for_each = each.value.actions
    content {
      name      = action.key
      action_id = action.value.actionId

      dynamic "parameter" {
        for_each = action.value.parameters
        content {
          key   = parameter.key
          value = parameter.key == "processName" ? var.process_name : parameter.value
        }
      }

      dynamic "target" {
        for_each = action.value.targets
        content {
          key   = target.key
          value = target.value
        }
      }
    }
  }

  dynamic "target" {
    for_each = each.value.targets
    content {
      name           = target.key
      resource_type  = target.value.resourceType
      selection_mode = target.value.selectionMode
      parameters = {
        cluster = var.cluster
        service = var.service
      }
    }
  }

  tags = {
    Name = "taskfault-${each.key}"
  }
}

output "ids" {
  description = "The templates' ids, by name"
  value       = { for name, template in aws_fis_experiment_template.this : name => template.id }
}
