//! How delays spread: the tables that netem draws from (`TCA_NETEM_DELAY_DIST`).
//!
//! A table has the quantiles of a distribution, from the least to the greatest, in units of one jitter over
//! `NETEM_DIST_SCALE`; netem takes one of them by chance for each packet. These are the distributions of the files that
//! iproute2 installs for `tc`, computed from their definitions.

use super::super::super::uapi::pkt_sched::NETEM_DIST_SCALE;

/// Numbers in a table, as in those of iproute2.
const QUANTILES: u16 = 4096;
/// No quantile is further away than this many jitters: a number has 16 bits.
pub const FURTHEST: u32 = 4;

/// How delays spread around their middle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Spread {
    /// Evenly over one jitter more and less; netem needs no table for it.
    #[default]
    Uniform,
    /// The bell curve.
    Normal,
    /// Pareto's with the exponent 3, around its mean 1.5 and with its scale such that one jitter is about its deviation.
    Pareto,
    /// Three quarters of [`Spread::Pareto`] and one of [`Spread::Normal`].
    ParetoNormal,
}

impl Spread {
    /// The table; None where netem needs none.
    pub fn table(self) -> Option<Vec<i16>> {
        let normal = || normal().map(scaled).collect();
        match self {
            Spread::Uniform => None,
            Spread::Normal => Some(normal()),
            Spread::Pareto => Some(pareto().map(scaled).collect()),
            Spread::ParetoNormal => {
                let both = pareto().zip(self::normal());
                Some(both.map(|(pareto, normal)| scaled(0.75 * pareto + 0.25 * normal)).collect())
            }
        }
    }
}

/// The middles of as many equal parts of the distribution as there are quantiles.
fn parts() -> impl Iterator<Item = f64> {
    (0..QUANTILES).map(|part| (f64::from(part) + 0.5) / f64::from(QUANTILES))
}

/// The quantiles of the normal distribution: its density is added up until as much lies below.
fn normal() -> impl Iterator<Item = f64> {
    const STEP: f64 = 1.0 / 1024.0;
    let density = |at: f64| (-0.5 * at * at).exp() / std::f64::consts::TAU.sqrt();
    // What lies further below is 0.003 % of all.
    let furthest = f64::from(FURTHEST);
    let (mut at, mut below) = (-furthest, 0.000_031_67);
    parts().map(move |part| {
        while below < part && at < furthest {
            below += density(at + 0.5 * STEP) * STEP;
            at += STEP;
        }
        at
    })
}

/// The quantiles of Pareto's distribution with the exponent 3: 1 at its least, 1.5 on average.
fn pareto() -> impl Iterator<Item = f64> {
    parts().map(|part| ((1.0 - part).powf(-1.0 / 3.0) - 1.5) * 4.0 / 3.0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is what the kernel's 16 bits allow"
)]
fn scaled(jitters: f64) -> i16 {
    (jitters * f64::from(NETEM_DIST_SCALE)).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and standard deviation of a table, in jitters.
    fn moments(spread: Spread) -> (f64, f64) {
        let table: Vec<f64> = spread
            .table()
            .unwrap()
            .into_iter()
            .map(|it| f64::from(it) / f64::from(NETEM_DIST_SCALE))
            .collect();
        let count = f64::from(QUANTILES);
        let mean = table.iter().sum::<f64>() / count;
        (mean, (table.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / count).sqrt())
    }

    #[test]
    fn tables_are_sorted_and_have_the_moments_of_their_distributions() {
        // Those of the files of iproute2 6.1, which are -0.001 and 1.000, -0.033 and 0.820, -0.025 and 0.834. The cut at four
        // jitters takes the long tail.
        for (spread, mean, deviation) in [
            (Spread::Normal, 0.0, 1.0),
            (Spread::Pareto, -0.033, 0.82),
            (Spread::ParetoNormal, -0.021, 0.849),
        ] {
            let table = spread.table().unwrap();
            assert_eq!(table.len(), usize::from(QUANTILES));
            assert!(table.is_sorted(), "{spread:?}");
            let (mean_of_table, deviation_of_table) = moments(spread);
            assert!((mean_of_table - mean).abs() < 0.005, "{spread:?}: {mean_of_table}");
            assert!((deviation_of_table - deviation).abs() < 0.005, "{spread:?}: {deviation_of_table}");
        }
        assert_eq!(Spread::Uniform.table(), None);
    }

    #[test]
    fn half_of_the_normal_delays_are_below_the_middle() {
        let table = Spread::Normal.table().unwrap();
        let middle = usize::from(QUANTILES / 2);
        assert!(table[middle - 1] <= 10 && table[middle] >= -10, "{} {}", table[middle - 1], table[middle]);
        // 97.5 % are below 1.96 deviations.
        let high = f64::from(table[usize::from(QUANTILES) * 975 / 1000]) / f64::from(NETEM_DIST_SCALE);
        assert!((high - 1.96).abs() < 0.02, "{high}");
    }

    #[test]
    fn most_of_paretos_delays_are_a_little_less_than_the_middle() {
        let table = Spread::Pareto.table().unwrap();
        let less = table.iter().filter(|it| **it < 0).count();
        assert!((0.68..0.73).contains(&(less as f64 / f64::from(QUANTILES))), "{less}");
        assert_eq!(
            table.first().copied().map(|it| f64::from(it) / 8192.0).map(|it| (it * 100.0).round()),
            Some(-67.0)
        );
        assert_eq!(table.last(), Some(&i16::MAX));
    }
}
