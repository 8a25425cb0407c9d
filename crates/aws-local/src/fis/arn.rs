//! ARNs and ids of the service.

use super::super::random;
use crate::Context;

/// The ARN of something of the service: `kind` is `experiment-template`, `experiment`, `action` or
/// `safety-lever`.
pub(super) fn of(kind: &str, id: &str, context: &Context) -> String {
    format!("arn:aws:fis:{}:{}:{kind}/{id}", context.region, context.account)
}

/// The six parts of an ARN; None if it is not one.
pub(super) fn parts(arn: &str) -> Option<[&str; 6]> {
    let mut parts = arn.splitn(6, ':');
    let all = [parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    (all[0] == "arn" && all[1].starts_with("aws") && !all[5].is_empty()).then_some(all)
}

/// Whether a text is an ARN of a service whose resource part starts like that.
pub(super) fn is_of(arn: &str, service: &str, resource: &str) -> bool {
    parts(arn).is_some_and(|parts| parts[2] == service && parts[5].len() > resource.len())
        && parts(arn).is_some_and(|parts| parts[5].starts_with(resource))
}

/// What follows the last `/`: the name in the ARN of a cluster or a service, or the name itself.
pub(super) fn last_name(name_or_arn: &str) -> &str {
    name_or_arn.rsplit('/').next().unwrap_or(name_or_arn)
}

/// A new id: three letters and 15 letters and digits.
pub(super) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", random::letters_and_digits(15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_told_from_other_texts() {
        let alarm = "arn:aws:cloudwatch:eu-west-1:000000000000:alarm:a name with blanks: and more";
        assert!(is_of(alarm, "cloudwatch", "alarm:"));
        assert!(!is_of(alarm, "cloudwatch", "dashboard/"));
        assert!(!is_of(alarm, "logs", "alarm:"));
        for other in ["", "arn:aws:cloudwatch", "arn:aws:cloudwatch:r:a:alarm:", "alarm:x", "arn:gcp:a:b:c:d"]
        {
            assert!(!is_of(other, "cloudwatch", "alarm:"), "{other}");
        }
    }

    #[test]
    fn names_and_arns_of_services_name_the_same() {
        assert_eq!(last_name("web"), "web");
        assert_eq!(last_name("arn:aws:ecs:eu-west-1:000000000000:service/demo/web"), "web");
    }

    #[test]
    fn ids_are_of_the_form_and_new() {
        let id = new_id("EXP");
        assert_eq!(id.len(), 18);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(id, new_id("EXP"));
    }
}
