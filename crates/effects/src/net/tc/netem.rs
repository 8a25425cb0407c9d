//! The queueing discipline netem.

use std::time::Duration;

use rtnetlink::packet_core::{DefaultNla, Emitable, NLA_F_NESTED};

use super::super::uapi::pkt_sched::{
    NETEM_LOSS_GE, PSCHED_TICK, TCA_NETEM_CORR, TCA_NETEM_CORRUPT, TCA_NETEM_DELAY_DIST, TCA_NETEM_LOSS,
    TCA_NETEM_RATE, TCA_NETEM_REORDER,
};

pub mod spread;

use spread::Spread;

/// Its name in `TCA_KIND`.
pub const KIND: &str = "netem";

/// What a netem does to the packets that reach it; nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Netem {
    /// Packets that wait at once; more are dropped.
    pub limit: u32,
    /// How long each packet waits.
    pub delay: Duration,
    /// Delays spread over about this much more or less.
    pub jitter: Duration,
    /// How.
    pub spread: Spread,
    /// How much a delay is like the one before, 0–1.
    pub delay_correlation: f64,
    /// Lost.
    pub loss: Chance,
    /// Losses in bursts, in place of the correlation of losses.
    pub bursts: Option<Bursts>,
    /// Sent twice.
    pub duplicate: Chance,
    /// Sent at once, before those that wait.
    pub reorder: Chance,
    /// Only each so many packets one may be sent at once; 0 is any.
    pub gap: u32,
    /// Sent with a bit turned.
    pub corrupt: Chance,
    /// No more than this leaves.
    pub rate: Option<Rate>,
}

/// Something that happens to a share of the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Chance {
    /// 0–1.
    pub share: f64,
    /// How much it is as for the packet before, 0–1.
    pub correlation: f64,
}

/// Losses as Gilbert and Elliott have them: a good state, where [`Netem::loss`] holds, and a bad one. All 0–1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// From good to bad, with each packet.
    pub begins: f64,
    /// Back.
    pub ends: f64,
    /// Lost in the bad state.
    pub loss: f64,
}

/// A limit of the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At most 2³²-1.
    pub bytes_per_second: u32,
    /// Each packet counts as so many bytes longer.
    pub overhead: u16,
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

impl Chance {
    /// Without a memory.
    pub fn of(share: f64) -> Chance {
        Chance { share, correlation: 0.0 }
    }

    /// `struct tc_netem_reorder` and `struct tc_netem_corrupt`; None if it never happens.
    fn attribute(self, kind: u16) -> Option<DefaultNla> {
        (self.share > 0.0).then(|| numbers(kind, &[share(self.share), share(self.correlation)]))
    }
}

impl Netem {
    /// What stands in `TCA_OPTIONS`: a struct, and behind it attributes for what is not in it.
    pub fn options(&self) -> Vec<u8> {
        let reorders = self.reorder.share > 0.0;
        let parameters = Parameters {
            latency: ticks(self.delay),
            limit: self.limit,
            loss: if self.bursts.is_some() { 0 } else { share(self.loss.share) },
            // Packets overtake only where there is a gap; 1 is every one.
            gap: if reorders { self.gap.max(1) } else { 0 },
            duplicate: share(self.duplicate.share),
            jitter: ticks(self.jitter),
        };
        let mut options = parameters.bytes();
        for attribute in self.attributes() {
            let at = options.len();
            options.resize(at + attribute.buffer_len(), 0);
            attribute.emit(&mut options[at..]);
        }
        options
    }

    fn attributes(&self) -> Vec<DefaultNla> {
        let correlations = [self.delay_correlation, self.loss.correlation, self.duplicate.correlation];
        let correlated = correlations.iter().any(|correlation| *correlation > 0.0);
        let correlations = correlated.then(|| numbers(TCA_NETEM_CORR, &correlations.map(share)));
        let table = self.spread.table().filter(|_| !self.jitter.is_zero());
        let spread = table.map(|table| {
            let bytes = table.into_iter().flat_map(i16::to_ne_bytes).collect();
            DefaultNla::new(TCA_NETEM_DELAY_DIST, bytes)
        });
        let all = [
            correlations,
            self.reorder.attribute(TCA_NETEM_REORDER),
            self.corrupt.attribute(TCA_NETEM_CORRUPT),
            self.bursts.map(|bursts| self.bad_state(bursts)),
            self.rate.map(Rate::attribute),
            spread,
        ];
        all.into_iter().flatten().collect()
    }

    /// `struct tc_netem_gemodel`: what begins and ends the bad state, what passes in it, what is lost in the good one.
    fn bad_state(&self, bursts: Bursts) -> DefaultNla {
        let model = [bursts.begins, bursts.ends, 1.0 - bursts.loss, self.loss.share];
        let model = numbers(NETEM_LOSS_GE, &model.map(share));
        let mut nest = vec![0; model.buffer_len()];
        model.emit(&mut nest);
        DefaultNla::new(TCA_NETEM_LOSS | NLA_F_NESTED, nest)
    }
}

impl Rate {
    /// `struct tc_netem_rate`, without cells.
    fn attribute(self) -> DefaultNla {
        numbers(TCA_NETEM_RATE, &[self.bytes_per_second, self.overhead.into(), 0, 0])
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

/// An attribute that is a struct of numbers.
fn numbers(kind: u16, numbers: &[u32]) -> DefaultNla {
    DefaultNla::new(kind, numbers.iter().flat_map(|number| number.to_ne_bytes()).collect())
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

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// strace of tc (iproute2 6.1.0, Debian 12): the options of
    /// `tc qdisc add dev d0 parent 7f17:4 netem limit 1000 loss 7%`.
    #[test]
    fn a_loss_is_what_tc_sends() {
        let netem = Netem { limit: 1_000, loss: Chance::of(0.07), ..Netem::default() };
        let golden = "00 00 00 00 e8 03 00 00 1f 85 eb 11 00 00 00 00 00 00 00 00 00 00 00 00";
        assert_eq!(netem.options(), hex(golden));
        let all = Netem { loss: Chance::of(1.0), ..netem };
        assert_eq!(all.options()[8..12], [0xff; 4], "100 % is all ones");
    }

    /// As above: `tc qdisc add dev lo root netem limit 1000 delay 50ms 5ms 25% loss gemodel 1% 25% 70% 0.1% duplicate 2% 10%
    /// reorder 25% 50% gap 5 corrupt 0.1% 5% rate 1mbit 20`.
    #[test]
    fn everything_at_once_is_what_tc_sends() {
        let chance = |share, correlation| Chance { share, correlation };
        let netem = Netem {
            limit: 1_000,
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(5),
            spread: Spread::Uniform,
            delay_correlation: 0.25,
            loss: Chance::of(0.001),
            bursts: Some(Bursts { begins: 0.01, ends: 0.25, loss: 0.7 }),
            duplicate: chance(0.02, 0.1),
            reorder: chance(0.25, 0.5),
            gap: 5,
            corrupt: chance(0.001, 0.05),
            rate: Some(Rate { bytes_per_second: 125_000, overhead: 20 }),
        };
        let golden = "c2 eb 0b 00 e8 03 00 00 00 00 00 00 05 00 00 00 52 b8 1e 05 2d 31 01 00 10 00 01 00 \
                      00 00 00 40 00 00 00 00 9a 99 99 19 0c 00 03 00 00 00 00 40 00 00 00 80 0c 00 04 00 \
                      37 89 41 00 cd cc cc 0c 18 00 05 80 14 00 02 00 29 5c 8f 02 00 00 00 40 cd cc cc 4c \
                      37 89 41 00 14 00 06 00 48 e8 01 00 14 00 00 00 00 00 00 00 00 00 00 00";
        assert_eq!(netem.options(), hex(golden));
    }

    #[test]
    fn a_table_goes_along_where_there_is_a_jitter() {
        let netem = Netem { spread: Spread::Normal, jitter: Duration::from_millis(1), ..Netem::default() };
        // The struct, the attribute's head, and 4,096 numbers of 16 bits.
        assert_eq!(netem.options().len(), 24 + 4 + 2 * 4_096);
        assert_eq!(Netem { jitter: Duration::ZERO, ..netem }.options().len(), 24);
    }
}
