//! Faults of the local AWS itself, for tests of agents: everything that can go wrong on the way, on request.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fis;

/// What a control channel gets when it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChannelPolicy {
    #[default]
    Open,
    /// HTTP 403 with `<AccessDeniedException>`: agents then fall back to the long poll.
    Denied,
    /// HTTP 500.
    Error,
    /// The connection is closed without an answer.
    Hangup,
}

/// All switches, off by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switches {
    pub channel: ChannelPolicy,
    /// Replies over the control channel are taken in but not acknowledged.
    pub withhold_reply_acks: bool,
    /// Acknowledgements of jobs are overlooked, so that jobs are delivered again.
    pub withhold_delivery_acks: bool,
    /// How long role tokens last. The service's own is about an hour.
    pub token_lifetime_seconds: u64,
    /// The next role token asks for a new key pair; it turns itself off.
    pub update_key_pair: bool,
    /// Every job is sent twice.
    pub duplicate_jobs: bool,
    /// As many AmazonSSM calls answer ThrottlingException; counts down.
    pub throttle_next: u32,
    /// Role tokens are refused with MachineFingerprintDoesNotMatch.
    pub fingerprint_mismatch: bool,
    /// A job that was not acknowledged is sent again after this.
    pub redelivery_seconds: u64,
    /// An empty long poll is held this long. Stock agents give up after 20 s.
    pub poll_seconds: u64,
    /// One request per fault endpoint and task in this time; 0 lets all through. The agent's own is 5.
    pub fault_rate_seconds: u64,
    /// Which operation the next two are about: `start`, `stop`, `status`; empty is every one.
    pub fault_trouble_with: String,
    /// As many requests to fault endpoints answer 500 and do nothing; counts down.
    pub fault_error_next: u32,
    /// As many requests to fault endpoints do their work, and have their connection closed without an answer after 5 s.
    pub fault_timeout_next: u32,
    /// As many starts at fault endpoints fail (500) and leave something half done, which makes every later start of the
    /// kind fail for as long as the task lives; counts down.
    pub fault_half_done_next: u32,
    /// Fault endpoints are those of this version of the agent: one before 1.94.0 (black holes) or 1.95.0 (latency, loss)
    /// refuses IPv6, one before 1.100.0 ignores `FlowsPercent`. Three numbers.
    pub fault_agent_version: String,
    /// The quota of targets of one FIS action: 5 in AWS until one asks for more; 0 is no limit.
    pub fis_targets_per_action: usize,
    /// FIS takes any role, also one that is not there or does not trust it.
    pub fis_any_role: bool,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            channel: ChannelPolicy::Open,
            withhold_reply_acks: false,
            withhold_delivery_acks: false,
            token_lifetime_seconds: 3600,
            update_key_pair: false,
            duplicate_jobs: false,
            throttle_next: 0,
            fingerprint_mismatch: false,
            redelivery_seconds: 15,
            poll_seconds: 15,
            fault_rate_seconds: 5,
            fault_trouble_with: String::new(),
            fault_error_next: 0,
            fault_timeout_next: 0,
            fault_half_done_next: 0,
            fault_agent_version: "1.105.1".to_owned(),
            fis_targets_per_action: fis::TARGETS_PER_ACTION,
            fis_any_role: false,
        }
    }
}

impl Switches {
    /// The switches with some members set anew.
    ///
    /// # Errors
    /// In words, if a member is unknown or has a wrong type.
    pub(crate) fn with(&self, changes: &Value) -> Result<Switches, String> {
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let changes = changes.as_object().ok_or("switches are a JSON object")?;
        for (name, value) in changes {
            all[name] = value.clone();
        }
        serde_json::from_value(all).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_named_switches_change() {
        let on = Switches::default().with(&json!({ "throttle_next": 3, "channel": "denied" })).unwrap();
        assert_eq!(on, Switches { throttle_next: 3, channel: ChannelPolicy::Denied, ..Switches::default() });
    }

    #[test]
    fn a_switch_that_does_not_exist_is_refused() {
        assert!(
            Switches::default().with(&json!({ "throtle_next": 3 })).unwrap_err().contains("throtle_next")
        );
        assert!(Switches::default().with(&json!({ "throttle_next": -1 })).is_err());
        assert!(Switches::default().with(&json!([])).is_err());
    }
}
