//! `network-impairment`: the packets of chosen peers suffer all that a bad line does to them, at once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::DURATION;
use crate::network_source::{
    CHOSEN_INTERFACE, EXCLUDE_PORTS, EXCLUDE_SOURCES, FLOWS_PERCENT, INTERFACE, OUR_SOURCES,
    OUR_TRAFFIC_TYPE, PORTS, PROTOCOL, SOURCES, Scope, TRAFFIC_TYPE,
};
use crate::parameter::{InDocument, Parameter, Preset, Values};
use crate::share::{self, Share};
use crate::spec::{Document, Lives, Spec, Strength};
use crate::{Arguments, Fault, ParameterError, Parameters, Range, names};

/// The longest delay and the widest jitter, in milliseconds: those of `network-latency`.
const MILLISECONDS: Range = Range { low: 0, high: 120_000, unit: "milliseconds" };
/// Up to 4 Gbit/s, which is what the kernel's 32 bits hold in bytes.
const KILOBITS: Range = Range { low: 0, high: 4_000_000, unit: "kbit/s" };
const OVERHEAD: Range = Range { low: 0, high: 1_500, unit: "bytes" };
const PACKETS: Range = Range { low: 0, high: 1_000, unit: "packets" };

/// Neither FIS nor its documents have it.
pub static SPEC: Spec = Spec {
    name: "network-impairment",
    summary: "delay, lose, duplicate, reorder, corrupt or slow down traffic to chosen targets",
    action: None,
    lives: Lives::Asked,
    strength: Some(Strength { percents: &[&LOSS, &BURST_LOSS, &DUPLICATE, &CORRUPT], instead: None }),
    parameters: &[
        DURATION,
        PROFILE,
        DELAY,
        JITTER,
        DISTRIBUTION,
        DELAY_CORRELATION,
        LOSS,
        LOSS_CORRELATION,
        BURST_BEGINS,
        BURST_ENDS,
        BURST_LOSS,
        DUPLICATE,
        DUPLICATE_CORRELATION,
        REORDER,
        REORDER_CORRELATION,
        REORDER_GAP,
        CORRUPT,
        CORRUPT_CORRELATION,
        RATE,
        RATE_OVERHEAD,
        SOURCES,
        EXCLUDE_SOURCES,
        PORTS,
        EXCLUDE_PORTS,
        PROTOCOL,
        FLOWS_PERCENT,
        TRAFFIC_TYPE,
        INTERFACE,
    ],
    documents: &[Document {
        name: "Taskfault-Run-Network-Impairment",
        parameters: &[
            DURATION,
            PROFILE,
            DELAY,
            JITTER,
            DISTRIBUTION,
            DELAY_CORRELATION,
            LOSS,
            LOSS_CORRELATION,
            BURST_BEGINS,
            BURST_ENDS,
            BURST_LOSS,
            DUPLICATE,
            DUPLICATE_CORRELATION,
            REORDER,
            REORDER_CORRELATION,
            REORDER_GAP,
            CORRUPT,
            CORRUPT_CORRELATION,
            RATE,
            RATE_OVERHEAD,
            OUR_SOURCES,
            EXCLUDE_SOURCES,
            PORTS,
            EXCLUDE_PORTS,
            PROTOCOL,
            FLOWS_PERCENT,
            OUR_TRAFFIC_TYPE,
            CHOSEN_INTERFACE,
        ],
        heartbeats: false,
        settles: &[],
        read: Fault::read::<NetworkImpairment>,
    }],
    read: Fault::read::<NetworkImpairment>,
};

/// What stands for a value that was not given: the profile's, or nothing.
const OF_PROFILE: Preset = Preset::Place("that of the profile, or 0");
/// In documents an empty text is no value.
const NOT_GIVEN: Preset = Preset::Value("");

/// A whole number that a profile may have.
const fn number(
    option: &'static str,
    document: &'static str,
    range: Range,
    description: &'static str,
) -> Parameter {
    Parameter {
        option,
        fis: None,
        document: Some(InDocument::with_default(document, "^[0-9]*$", NOT_GIVEN)),
        default: OF_PROFILE,
        values: Values::Number(range),
        description,
    }
}

/// A share that a profile may have.
const fn share(option: &'static str, document: &'static str, description: &'static str) -> Parameter {
    Parameter {
        option,
        fis: None,
        document: Some(InDocument::with_default(document, share::PATTERN, NOT_GIVEN)),
        default: OF_PROFILE,
        values: Values::Text { accepts: share::ACCEPTS, example: "0.5", hyphen: false },
        description,
    }
}

const PROFILE: Parameter = Parameter {
    option: "profile",
    fis: None,
    document: Some(InDocument::new("Profile", "^(none|3g|cross-region|edge|lossy-wifi|satellite)$")),
    default: Preset::Value("none"),
    values: Values::OneOf(Profile::NAMES),
    description: "the values of a line of that kind, for what is not given",
};

const DELAY: Parameter =
    number("delay-milliseconds", "DelayMilliseconds", MILLISECONDS, "how much longer each packet takes");
const JITTER: Parameter =
    number("jitter-milliseconds", "JitterMilliseconds", MILLISECONDS, "the delay varies by about this much");
const DISTRIBUTION: Parameter = Parameter {
    option: "distribution",
    fis: None,
    document: Some(InDocument::with_default(
        "Distribution",
        "^(uniform|normal|pareto|paretonormal)?$",
        NOT_GIVEN,
    )),
    default: Preset::Place("that of the profile, or uniform"),
    values: Values::OneOf(Distribution::NAMES),
    description: "how the jitter spreads",
};
const DELAY_CORRELATION: Parameter =
    share("delay-correlation-percent", "DelayCorrelationPercent", "how much a delay is like the one before");
const LOSS: Parameter = share(
    "loss-percent",
    "LossPercent",
    "share of the packets that are lost, outside of bursts where there are some",
);
const LOSS_CORRELATION: Parameter = share(
    "loss-correlation-percent",
    "LossCorrelationPercent",
    "how much the fate of a packet is that of the one before",
);
const BURST_BEGINS: Parameter = share(
    "burst-begins-percent",
    "BurstBeginsPercent",
    "share of the packets with which a burst of losses begins (Gilbert-Elliott's p)",
);
const BURST_ENDS: Parameter =
    share("burst-ends-percent", "BurstEndsPercent", "share of a burst's packets with which it ends (r)");
const BURST_LOSS: Parameter = share(
    "burst-loss-percent",
    "BurstLossPercent",
    "share of a burst's packets that are lost (1-h); 0 means all",
);
const DUPLICATE: Parameter =
    share("duplicate-percent", "DuplicatePercent", "share of the packets that come twice");
const DUPLICATE_CORRELATION: Parameter =
    share("duplicate-correlation-percent", "DuplicateCorrelationPercent", "as for losses");
const REORDER: Parameter =
    share("reorder-percent", "ReorderPercent", "share of the packets that overtake those that are delayed");
const REORDER_CORRELATION: Parameter =
    share("reorder-correlation-percent", "ReorderCorrelationPercent", "as for losses");
const REORDER_GAP: Parameter =
    number("reorder-gap", "ReorderGap", PACKETS, "only each so many packets one may overtake; 0 means any");
const CORRUPT: Parameter =
    share("corrupt-percent", "CorruptPercent", "share of the packets in which one bit is turned");
const CORRUPT_CORRELATION: Parameter =
    share("corrupt-correlation-percent", "CorruptCorrelationPercent", "as for losses");
const RATE: Parameter =
    number("rate-kilobits", "RateKilobits", KILOBITS, "no more than this passes; 0 is no limit");
const RATE_OVERHEAD: Parameter =
    number("rate-overhead-bytes", "RateOverheadBytes", OVERHEAD, "counts each packet as so much longer");

/// A kind of line, with what it is made of.
///
/// Delays are those of a round trip, since one direction has all of it.
#[derive(Debug, Clone, Copy)]
struct Profile {
    /// As it is asked for.
    name: &'static str,
    values: &'static [(Parameter, &'static str)],
}

impl Profile {
    const NAMES: &[&str] = &["none", "3g", "cross-region", "edge", "lossy-wifi", "satellite"];

    /// 3g, edge, satellite and the first three values of lossy-wifi: the table of network conditions in the README of
    /// tylertreat/comcast (3G/HSDPA, EDGE, Satellite, WIFI). cross-region: between Virginia and Ireland lie 5,500 km,
    /// of which light in glass takes 55 ms both ways; what is measured is a fourth above that. The bursts of
    /// lossy-wifi are ours: one in a hundred packets begins one, which lasts for four on average and loses most.
    const ALL: [Profile; 6] = [
        Profile { name: "none", values: &[] },
        Profile { name: "3g", values: &[(DELAY, "250"), (RATE, "750"), (LOSS, "1.5")] },
        Profile { name: "cross-region", values: &[(DELAY, "70"), (JITTER, "2"), (DISTRIBUTION, "normal")] },
        Profile { name: "edge", values: &[(DELAY, "300"), (RATE, "250"), (LOSS, "1.5")] },
        Profile {
            name: "lossy-wifi",
            values: &[
                (DELAY, "40"),
                (RATE, "30000"),
                (LOSS, "0.2"),
                (JITTER, "20"),
                (DISTRIBUTION, "pareto"),
                (BURST_BEGINS, "1"),
                (BURST_ENDS, "25"),
                (BURST_LOSS, "70"),
            ],
        },
        Profile { name: "satellite", values: &[(DELAY, "1500"), (LOSS, "0.2")] },
    ];

    fn find(name: &str) -> Result<Profile, ParameterError> {
        let found = Profile::ALL.into_iter().find(|profile| profile.name == name);
        found.ok_or_else(|| ParameterError::not_one_of("profile", name, Profile::NAMES.join(", ")))
    }
}

/// What holds where neither the user nor the profile says otherwise.
const NOTHING: [(Parameter, &str); 18] = [
    (DELAY, "0"),
    (JITTER, "0"),
    (DISTRIBUTION, "uniform"),
    (DELAY_CORRELATION, "0"),
    (LOSS, "0"),
    (LOSS_CORRELATION, "0"),
    (BURST_BEGINS, "0"),
    (BURST_ENDS, "0"),
    (BURST_LOSS, "0"),
    (DUPLICATE, "0"),
    (DUPLICATE_CORRELATION, "0"),
    (REORDER, "0"),
    (REORDER_CORRELATION, "0"),
    (REORDER_GAP, "0"),
    (CORRUPT, "0"),
    (CORRUPT_CORRELATION, "0"),
    (RATE, "0"),
    (RATE_OVERHEAD, "0"),
];

/// How a jitter spreads around the delay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly, over the jitter more and the jitter less.
    #[default]
    Uniform,
    /// As the bell curve, with the jitter as its standard deviation.
    Normal,
    /// Most a little less, a few much more.
    Pareto,
    /// Three quarters as pareto, one quarter as normal.
    ParetoNormal,
}

impl Distribution {
    /// How they are written.
    pub const NAMES: &[&str] = &["uniform", "normal", "pareto", "paretonormal"];

    const ALL: [Distribution; 4] =
        [Distribution::Uniform, Distribution::Normal, Distribution::Pareto, Distribution::ParetoNormal];
}

impl FromStr for Distribution {
    type Err = ParameterError;

    fn from_str(word: &str) -> Result<Self, ParameterError> {
        let refused = || ParameterError::not_one_of("distribution", word, Distribution::NAMES.join(", "));
        names::find(word, Distribution::NAMES, &Distribution::ALL).ok_or_else(refused)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(names::of(self, Distribution::NAMES, &Distribution::ALL))
    }
}

/// Something that happens to a share of the packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chance {
    /// How many.
    pub share: Share,
    /// How much the fate of a packet is that of the one before.
    pub correlation: Share,
}

impl Chance {
    /// The most of the packets that it may come to. netem mixes each random number with the one before, which draws
    /// all of them to the middle: a share of more than half becomes more, and up to all. With a correlation of 100 %
    /// the first number stays for ever.
    fn most(self) -> Share {
        let grows = !self.correlation.is_nothing() && self.share.of_one() > 0.5;
        let stays = self.correlation == Share::ALL && !self.share.is_nothing();
        if grows || stays { Share::ALL } else { self.share }
    }
}

/// Losses in bursts, as Gilbert and Elliott have them; none by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bursts {
    /// With each packet, one begins so often.
    pub begins: Share,
    /// With each packet, it ends so often.
    pub ends: Share,
    /// As given: 0 where all of its packets are lost, see [`Bursts::lost`].
    loss: Share,
}

/// What a line does to packets; all of it is nothing by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impairment {
    /// 0 to 120 s.
    pub delay: Duration,
    /// 0 to 120 s.
    pub jitter: Duration,
    /// Of the jitter.
    pub distribution: Distribution,
    /// How much a delay is like the one before.
    pub delay_correlation: Share,
    /// Lost, outside of bursts where there are some.
    pub loss: Chance,
    /// In place of the correlation of losses.
    pub bursts: Bursts,
    /// Come twice.
    pub duplicate: Chance,
    /// Overtake those that are delayed.
    pub reorder: Chance,
    /// Only each so many packets one may overtake; 0 is any.
    pub reorder_gap: u32,
    /// Have one bit turned.
    pub corrupt: Chance,
    /// In 1,000 bits a second; 0 is no limit.
    pub rate_kilobits: u64,
    /// In bytes: each packet counts as so much longer.
    pub rate_overhead: u16,
}

/// Parameters of an impairment, in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkImpairment {
    /// The name of the profile with the values that were not given, or `none`.
    pub profile: &'static str,
    /// What is done.
    pub impairment: Impairment,
    /// To whose traffic.
    pub scope: Scope,
}

impl Bursts {
    /// Whether there are any.
    pub fn happen(self) -> bool {
        !self.begins.is_nothing()
    }

    /// So many of a burst's packets are lost: all of them where no share was given.
    pub fn lost(self) -> Share {
        if self.loss.is_nothing() { Share::ALL } else { self.loss }
    }
}

impl Impairment {
    fn read(arguments: &Arguments) -> Result<Impairment, ParameterError> {
        let milliseconds = |parameter| Ok(Duration::from_millis(arguments.number(parameter)?));
        let chance = |share, correlation| {
            Ok(Chance { share: arguments.share(share)?, correlation: arguments.share(correlation)? })
        };
        let bursts = Bursts {
            begins: arguments.share(&BURST_BEGINS)?,
            ends: arguments.share(&BURST_ENDS)?,
            loss: arguments.share(&BURST_LOSS)?,
        };
        Ok(Impairment {
            delay: milliseconds(&DELAY)?,
            jitter: milliseconds(&JITTER)?,
            distribution: arguments.text(&DISTRIBUTION).parse()?,
            delay_correlation: arguments.share(&DELAY_CORRELATION)?,
            loss: chance(&LOSS, &LOSS_CORRELATION)?,
            bursts,
            duplicate: chance(&DUPLICATE, &DUPLICATE_CORRELATION)?,
            reorder: chance(&REORDER, &REORDER_CORRELATION)?,
            reorder_gap: arguments.number(&REORDER_GAP)?,
            corrupt: chance(&CORRUPT, &CORRUPT_CORRELATION)?,
            rate_kilobits: arguments.number(&RATE)?,
            rate_overhead: arguments.number(&RATE_OVERHEAD)?,
        })
    }

    /// Why these values together mean nothing, or not what whoever gave them may think.
    ///
    /// # Errors
    /// The reason, with the names of the parameters.
    pub fn check(&self) -> Result<(), &'static str> {
        let chances = [self.loss, self.duplicate, self.reorder, self.corrupt];
        let is_nothing = self.delay.is_zero()
            && self.jitter.is_zero()
            && !self.bursts.happen()
            && self.rate_kilobits == 0
            && chances.iter().all(|chance| chance.share.is_nothing());
        let reorders = !self.reorder.share.is_nothing();
        if is_nothing {
            return Err(
                "nothing is asked for: give a profile, or at least one of delay, jitter, loss, bursts, \
                        duplicate, reorder, corrupt and rate",
            );
        }
        if reorders && self.delay.is_zero() {
            return Err("reorder-percent needs a delay: packets overtake those that are delayed");
        }
        if self.reorder_gap > 0 && !reorders {
            return Err("reorder-gap is for reorder-percent, which is 0");
        }
        if self.bursts.happen() && self.bursts.ends.is_nothing() {
            return Err("burst-ends-percent is 0: the first burst would never end");
        }
        if self.bursts.happen() && !self.loss.correlation.is_nothing() {
            return Err("loss-correlation-percent has no meaning beside bursts: they are the correlation");
        }
        Ok(())
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "delay-milliseconds" => Some(self.delay.as_millis().to_string()),
            "jitter-milliseconds" => Some(self.jitter.as_millis().to_string()),
            "distribution" => Some(self.distribution.to_string()),
            "delay-correlation-percent" => Some(self.delay_correlation.to_string()),
            "loss-percent" => Some(self.loss.share.to_string()),
            "loss-correlation-percent" => Some(self.loss.correlation.to_string()),
            "burst-begins-percent" => Some(self.bursts.begins.to_string()),
            "burst-ends-percent" => Some(self.bursts.ends.to_string()),
            "burst-loss-percent" => Some(self.bursts.loss.to_string()),
            "duplicate-percent" => Some(self.duplicate.share.to_string()),
            "duplicate-correlation-percent" => Some(self.duplicate.correlation.to_string()),
            "reorder-percent" => Some(self.reorder.share.to_string()),
            "reorder-correlation-percent" => Some(self.reorder.correlation.to_string()),
            "reorder-gap" => Some(self.reorder_gap.to_string()),
            "corrupt-percent" => Some(self.corrupt.share.to_string()),
            "corrupt-correlation-percent" => Some(self.corrupt.correlation.to_string()),
            "rate-kilobits" => Some(self.rate_kilobits.to_string()),
            "rate-overhead-bytes" => Some(self.rate_overhead.to_string()),
            _ => None,
        }
    }
}

impl Parameters for NetworkImpairment {
    fn read(arguments: &Arguments) -> Result<Self, ParameterError> {
        let profile = Profile::find(arguments.text(&PROFILE))?;
        let impairment = Impairment::read(&arguments.or(profile.values).or(&NOTHING))?;
        Ok(NetworkImpairment { profile: profile.name, impairment, scope: Scope::read(arguments)? })
    }

    fn text(&self, option: &str) -> Option<String> {
        match option {
            "profile" => Some(self.profile.to_owned()),
            option => self.impairment.text(option).or_else(|| self.scope.text(option)),
        }
    }

    fn strength(&self, option: &str) -> Option<String> {
        let Impairment { bursts, loss, duplicate, corrupt, .. } = self.impairment;
        match option {
            "loss-percent" => Some(loss.most().to_string()),
            "duplicate-percent" => Some(duplicate.most().to_string()),
            "corrupt-percent" => Some(corrupt.most().to_string()),
            "burst-loss-percent" if bursts.happen() => Some(bursts.lost().to_string()),
            option => self.text(option),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&Parameter, &str)]) -> Result<NetworkImpairment, ParameterError> {
        let mut arguments = Arguments::default();
        for (parameter, value) in given {
            arguments.give(parameter, parameter.option, *value);
        }
        NetworkImpairment::read(&arguments)
    }

    #[test]
    fn a_profile_fills_in_what_is_not_given() {
        let text = |fault: &NetworkImpairment, option| fault.text(option).unwrap();
        let fault = read(&[(&PROFILE, "3g"), (&LOSS, "0"), (&RATE, "")]).unwrap();
        assert_eq!(text(&fault, "delay-milliseconds"), "250");
        assert_eq!((text(&fault, "loss-percent"), text(&fault, "rate-kilobits")), ("0".into(), "750".into()));
        let wifi = read(&[(&PROFILE, "lossy-wifi")]).unwrap();
        assert_eq!(text(&wifi, "burst-ends-percent"), "25");
        assert_eq!(wifi.impairment.distribution, Distribution::Pareto);
        let refused = read(&[(&PROFILE, "5g")]).unwrap_err().to_string();
        assert!(refused.contains("none, 3g, cross-region"), "{refused}");
    }

    #[test]
    fn every_profile_is_one_that_can_be_asked_for_and_means_something() {
        assert_eq!(Profile::ALL.map(|profile| profile.name).as_slice(), Profile::NAMES);
        let pattern = regex::Regex::new(PROFILE.document.unwrap().pattern).unwrap();
        for profile in Profile::ALL {
            assert!(pattern.is_match(profile.name));
            let fault = read(&[(&PROFILE, profile.name)]).unwrap();
            assert_eq!(fault.impairment.check().is_ok(), profile.name != "none", "{}", profile.name);
        }
    }

    #[test]
    fn a_burst_that_has_no_share_is_as_strong_as_one_that_loses_all() {
        for (given, strength) in [
            (&[(&BURST_BEGINS, "1"), (&BURST_ENDS, "5")][..], "100"),
            (&[(&BURST_BEGINS, "1"), (&BURST_ENDS, "5"), (&BURST_LOSS, "0")], "100"),
            (&[(&BURST_BEGINS, "1"), (&BURST_ENDS, "5"), (&BURST_LOSS, "15")], "15"),
            (&[(&DELAY, "5")], "0"),
        ] {
            assert_eq!(read(given).unwrap().strength("burst-loss-percent").unwrap(), strength);
        }
    }

    #[test]
    fn a_correlation_can_make_more_of_a_share() {
        for (share, correlation) in
            [(LOSS, LOSS_CORRELATION), (DUPLICATE, DUPLICATE_CORRELATION), (CORRUPT, CORRUPT_CORRELATION)]
        {
            for (given, with, strength) in [
                ("60", "0", "60"),
                ("60", "25", "100"),
                ("50", "99", "50"),
                ("1", "100", "100"),
                ("0", "100", "0"),
            ] {
                let fault = read(&[(&share, given), (&correlation, with), (&DELAY, "1")]).unwrap();
                assert_eq!(fault.strength(share.option).unwrap(), strength, "{given} with {with}");
            }
        }
    }

    #[test]
    fn what_means_nothing_is_said() {
        for (given, words) in [
            (&[][..], Some("nothing is asked for")),
            (&[(&REORDER, "5")], Some("needs a delay")),
            (&[(&DELAY, "5"), (&REORDER_GAP, "5")], Some("which is 0")),
            (&[(&BURST_BEGINS, "5")], Some("never end")),
            (&[(&BURST_BEGINS, "5"), (&BURST_ENDS, "5"), (&LOSS_CORRELATION, "1")], Some("no meaning")),
            (&[(&BURST_BEGINS, "5"), (&BURST_ENDS, "5")], None),
            (&[(&DELAY, "5"), (&REORDER, "5"), (&REORDER_GAP, "5")], None),
            (&[(&CORRUPT, "0.001")], None),
        ] {
            let said = read(given).unwrap().impairment.check().err();
            match words {
                Some(words) => assert!(said.unwrap().contains(words), "{said:?}"),
                None => assert_eq!(said, None),
            }
        }
    }
}
