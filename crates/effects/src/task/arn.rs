//! A task's ARN, and the region in it.

use std::fmt;
use std::str::FromStr;

/// `arn:PARTITION:ecs:REGION:ACCOUNT:task/CLUSTER/ID`.
///
/// The region is read here and nowhere else: cutting the last character off the availability zone, as AWS's
/// own script does, is wrong in local zones and refuses new regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskArn {
    text: String,
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// `eu-west-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
    /// The cluster's name.
    pub cluster: String,
    /// The last part: 32 hexadecimal digits.
    pub task_id: String,
}

/// Not an ARN of a task in the long form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form arn:PARTITION:ecs:REGION:ACCOUNT:task/CLUSTER/ID")]
pub struct ArnError(String);

impl FromStr for TaskArn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<TaskArn, ArnError> {
        let bad = || ArnError(text.to_owned());
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "ecs", region, account, resource] = fields[..] else { return Err(bad()) };
        let mut parts = resource.split('/');
        let (Some("task"), Some(cluster), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        // These words become parts of host names and tags: only what an ARN can hold is let through.
        let plain = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if ![partition, region, account, cluster, id].into_iter().all(plain) {
            return Err(bad());
        }
        Ok(TaskArn {
            text: text.to_owned(),
            partition: partition.to_owned(),
            region: region.to_owned(),
            account: account.to_owned(),
            cluster: cluster.to_owned(),
            task_id: id.to_owned(),
        })
    }
}

impl fmt::Display for TaskArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_and_region_is_read() {
        for (text, region) in [
            ("arn:aws:ecs:il-central-1:123456789012:task/c/0f", "il-central-1"),
            ("arn:aws-us-gov:ecs:us-gov-west-1:123456789012:task/c/0f", "us-gov-west-1"),
            ("arn:aws-iso:ecs:us-iso-east-1:123456789012:task/my_cluster/0f", "us-iso-east-1"),
        ] {
            let arn: TaskArn = text.parse().unwrap();
            assert_eq!((arn.region.as_str(), arn.to_string().as_str()), (region, text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "arn:aws:ecs:us-east-1:1:task/short-form",
            "arn:aws:ecs:us-east-1:1:service/c/s",
            "arn:aws:ecs::1:task/c/i",
            "arn:aws:ecs:evil.example/#:1:task/c/i",
            "arn:aws:ecs:us-east-1:1:task/c/i/more",
            "arn:aws:sqs:us-east-1:1:task/c/i",
        ] {
            assert!(text.parse::<TaskArn>().is_err(), "{text}");
        }
    }
}
