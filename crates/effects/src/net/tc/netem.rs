//! The queueing discipline netem.

use std::time::Duration;

use super::super::uapi::pkt_sched::PSCHED_TICK;

/// Its name in `TCA_KIND`.
pub const KIND: &str = "netem";

/// What a netem does to the packets that reach it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Netem {
    /// Packets that wait at once; more are dropped.
    pub limit: u32,
    /// How long each packet waits.
    pub delay: Duration,
    /// Delays spread evenly over this much more or less.
    pub jitter: Duration,
    /// Share of packets that are lost, 0–1.
    pub loss: f64,
}

/// `struct tc_netem_qopt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parameters {
    /// In ticks.
    latency: u32,
    /// In packets.
    limit: u32,
    /// As a share of all ones.
    loss: u32,
    gap: u32,
    duplicate: u32,
    /// In ticks.
    jitter: u32,
}

impl Netem {
    /// What stands in `TCA_OPTIONS`.
    pub fn options(&self) -> Vec<u8> {
        let parameters = Parameters {
            latency: ticks(self.delay),
            limit: self.limit,
            loss: share(self.loss),
            gap: 0,
            duplicate: 0,
            jitter: ticks(self.jitter),
        };
        parameters.bytes()
    }
}

impl Parameters {
    fn bytes(self) -> Vec<u8> {
        [self.latency, self.limit, self.loss, self.gap, self.duplicate, self.jitter]
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect()
    }
}

/// A share of all ones, rounded as tc does: all ones means every packet.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rounded, and from 0 to all ones: a float that is out of range saturates"
)]
fn share(of_one: f64) -> u32 {
    (of_one * f64::from(u32::MAX)).round() as u32
}

/// Delays up to 274 s fit; the longest that a fault may ask for is 120 s.
fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_nanos() / PSCHED_TICK.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// strace of tc (iproute2 6.1.0, Debian 12): the options of
    /// `tc qdisc add dev d0 parent 7f17:4 netem limit 1000 loss 7%`.
    #[test]
    fn a_loss_is_what_tc_sends() {
        let netem = Netem { limit: 1_000, delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.07 };
        let golden = "00 00 00 00 e8 03 00 00 1f 85 eb 11 00 00 00 00 00 00 00 00 00 00 00 00";
        let golden: Vec<u8> =
            golden.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(netem.options(), golden);
        let all = Netem { loss: 1.0, ..netem };
        assert_eq!(all.options()[8..12], [0xff; 4], "100 % is all ones");
    }
}
