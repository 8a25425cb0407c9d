//! How many of the resources found are chosen: `ALL`, `COUNT(n)`, `PERCENT(n)`.

use crate::random;

/// `selectionMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    All,
    Count(usize),
    /// 1–100.
    Percent(usize),
}

impl Mode {
    /// Reads the member; None if it is none of the three forms.
    pub(super) fn parse(text: &str) -> Option<Mode> {
        let inside = |name: &str| -> Option<usize> {
            let digits = text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|number| plain && *number >= 1)
        };
        if text == "ALL" {
            return Some(Mode::All);
        }
        match (inside("COUNT"), inside("PERCENT")) {
            (Some(count), _) => Some(Mode::Count(count)),
            (_, Some(percent)) => Some(Mode::Percent(percent)).filter(|_| percent <= 100),
            _ => None,
        }
    }

    /// How many of so many: a share is rounded down, and a count above the number takes all.
    pub(super) fn of(self, found: usize) -> usize {
        match self {
            Mode::All => found,
            Mode::Count(count) => count.min(found),
            Mode::Percent(percent) => found * percent / 100,
        }
    }
}

/// So many of the items, each set of them as likely; in the order in which they came.
pub(super) fn choose<T>(items: Vec<T>, count: usize) -> Vec<T> {
    let mut left = items.len();
    let mut wanted = count;
    let mut chosen = Vec::with_capacity(count.min(left));
    for item in items {
        if random::below(left) < wanted {
            wanted -= 1;
            chosen.push(item);
        }
        left -= 1;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn modes_are_read_and_everything_else_is_not() {
        assert_eq!(Mode::parse("ALL"), Some(Mode::All));
        assert_eq!(Mode::parse("COUNT(1)"), Some(Mode::Count(1)));
        assert_eq!(Mode::parse("PERCENT(66)"), Some(Mode::Percent(66)));
        for wrong in [
            "",
            "all",
            "COUNT",
            "COUNT()",
            "COUNT(0)",
            "COUNT(-1)",
            "COUNT(+1)",
            "COUNT( 1)",
            "PERCENT(0)",
            "PERCENT(101)",
            "PERCENT(66%)",
            "PERCENT(66.5)",
            "COUNT(1) ",
            "FIRST(1)",
        ] {
            assert_eq!(Mode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares_are_rounded_down() {
        for (percent, found, chosen) in
            [(66, 3, 1), (67, 3, 2), (50, 5, 2), (50, 1, 0), (100, 3, 3), (1, 99, 0), (1, 100, 1)]
        {
            assert_eq!(Mode::Percent(percent).of(found), chosen, "{percent} % of {found}");
        }
        assert_eq!(Mode::Count(5).of(3), 3);
        assert_eq!(Mode::Count(2).of(3), 2);
        assert_eq!(Mode::All.of(3), 3);
    }

    #[test]
    fn any_of_them_may_be_chosen_and_none_twice() {
        let mut seen = BTreeSet::new();
        for _ in 0..500 {
            let chosen = choose((0..5).collect(), 2);
            assert_eq!(chosen.len(), 2);
            assert!(chosen[0] < chosen[1]);
            seen.insert((chosen[0], chosen[1]));
        }
        assert_eq!(seen.len(), 10, "each pair comes up in 500 draws: {seen:?}");
        assert!(choose(vec![1, 2], 0).is_empty());
        assert_eq!(choose(vec![1, 2], 2), [1, 2]);
        assert_eq!(choose(vec![1, 2], 3), [1, 2]);
    }
}
