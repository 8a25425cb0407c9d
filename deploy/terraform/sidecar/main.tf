# The sidecar's container for an aws_ecs_task_definition of your own, from task-definition.json.
#
#   module "taskfault" {
#     source                     = "./deploy/terraform/sidecar"
#     image                      = "REGISTRY/taskfault:0.1.0"
#     managed_instance_role_name = module.taskfault_roles.managed_instance_role_name
#     log_group                  = aws_cloudwatch_log_group.web.name
#   }
#
#   resource "aws_ecs_task_definition" "web" {
#     network_mode           = "awsvpc"
#     pid_mode               = module.taskfault.pid_mode
#     enable_fault_injection = module.taskfault.enable_fault_injection
#     container_definitions  = jsonencode([local.app, module.taskfault.container])
#     dynamic "volume" {
#       for_each = module.taskfault.volumes
#       content { name = volume.value }
#     }
#     ...
#   }

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

variable "image" {
  description = "taskfault in your registry, with its tag"
  type        = string
}

variable "managed_instance_role_name" {
  description = "The role that the sidecar registers with: its name, not its ARN"
  type        = string
  default     = "taskfault-managed-instance"
}

variable "fargate" {
  description = "Whether the tasks run on Fargate, which refuses NET_ADMIN"
  type        = bool
  default     = false
}

variable "log_group" {
  description = "Log group of the sidecar; null for no log"
  type        = string
  default     = null
}

variable "environment" {
  description = "More variables for the sidecar, TASKFAULT_... for instance"
  type        = map(string)
  default     = {}
}

data "aws_region" "current" {}

locals {
  definition = jsondecode(file("${path.module}/../../../task-definition.json"))
  example    = [for container in local.definition.containerDefinitions : container if container.name == "taskfault"][0]

  own = {
    for name, value in local.example : name => value
    if !contains(["image", "environment", "logConfiguration", "linuxParameters"], name)
  }

  environment = merge(
    { for variable in local.example.environment : variable.name => variable.value },
    { MANAGED_INSTANCE_ROLE_NAME = var.managed_instance_role_name },
    var.environment,
  )

  log = var.log_group == null ? {} : {
    logConfiguration = merge(local.example.logConfiguration, {
      options = merge(local.example.logConfiguration.options, {
        awslogs-group  = var.log_group
        awslogs-region = data.aws_region.current.name
      })
    })
  }

  linux = var.fargate ? {} : { linuxParameters = local.example.linuxParameters }
}

output "container" {
  description = "The container, for jsonencode in container_definitions"
  value = merge(local.own, local.log, local.linux, {
    image       = var.image
    environment = [for name, value in local.environment : { name = name, value = value }]
  })
}

output "volumes" {
  description = "Names of the volumes that the container mounts"
  value       = [for point in try(local.example.mountPoints, []) : point.sourceVolume]
}

output "pid_mode" {
  description = "pid_mode of the task definition"
  value       = local.definition.pidMode
}

output "enable_fault_injection" {
  description = "enable_fault_injection of the task definition"
  value       = local.definition.enableFaultInjection
}
