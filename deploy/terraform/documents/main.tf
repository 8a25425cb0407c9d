# Documents for the faults that AWS FIS has no document for, from deploy/documents.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.80"
    }
  }
}

locals {
  folder    = "${path.module}/../../documents"
  documents = { for file in fileset(local.folder, "*.json") : trimsuffix(file, ".json") => file("${local.folder}/${file}") }
}

resource "aws_ssm_document" "this" {
  for_each        = local.documents
  name            = each.key
  document_type   = jsondecode(each.value).schemaVersion == "0.3" ? "Automation" : "Command"
  document_format = "JSON"
  content         = each.value
}

output "names" {
  description = "The documents' names"
  value       = keys(aws_ssm_document.this)
}
