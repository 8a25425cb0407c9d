//! How much memory to hold next: slowly up, at once down, and down before it is needed. Pure.
//!
//! For pages, and for files that are kept in memory.

use std::time::Duration;

/// Taken at a time, at most. Between two, the room is looked at again.
const STEP: u64 = 64 * 1024 * 1024;
/// The least that is taken or given back, but for the last of all.
pub(crate) const GRAIN: u64 = 1024 * 1024;
/// Others' use that rises by less from one look to the next is noise: the kernel charges each CPU in advance.
const NOISE: i64 = 1024 * 1024;
/// Others are taken to go on for so many looks as they did in the last.
const AHEAD: i64 = 4;
/// Nothing is taken for so long after something was given back.
pub(crate) const CALM: Duration = Duration::from_millis(500);

/// What was seen before.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// What others used when it was last known, up to a constant.
    others: Option<i64>,
    /// No more is taken before.
    calm_until: Duration,
}

/// One look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Since the start.
    pub now: Duration,
    /// Bytes that may be taken; below 0, so many have to be given back.
    pub room: i64,
    /// Bytes held.
    pub held: u64,
    /// Whether nothing is being taken or given back, so that `held` and `room` are of the same moment.
    pub settled: bool,
    /// Bytes to hold in the end.
    pub goal: u64,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on with what was said last.
    Keep,
    /// Hold so much more.
    Take(u64),
    /// Hold so much less.
    GiveBack(u64),
}

impl Pace {
    /// What follows from one more look.
    pub(crate) fn next(&mut self, look: Look) -> Next {
        let ahead = if look.settled { self.expected(look) } else { 0 };
        let spare = look.room.saturating_sub(ahead);
        if spare < 0 && look.held > 0 {
            self.calm(look.now);
            let surplus = spare.unsigned_abs().div_ceil(GRAIN).saturating_mul(GRAIN);
            return Next::GiveBack(surplus.min(look.held));
        }
        let wanted = look.goal.saturating_sub(look.held).min(STEP);
        if !look.settled || look.now < self.calm_until || wanted == 0 {
            return Next::Keep;
        }
        // Half of what there is: whoever takes some at the same time finds the other half.
        let spare = u64::try_from(spare).unwrap_or(0);
        let most = if spare < 2 * GRAIN { spare } else { spare / 2 };
        let step = if most >= wanted { wanted } else { most / GRAIN * GRAIN };
        if step == 0 { Next::Keep } else { Next::Take(step) }
    }

    /// Takes nothing for a while.
    pub(crate) fn calm(&mut self, now: Duration) {
        self.calm_until = now + CALM;
    }

    /// What others will have taken before anything can be given back.
    fn expected(&mut self, look: Look) -> i64 {
        let others = 0_i64.saturating_sub(look.room).saturating_sub_unsigned(look.held);
        let rise = self.others.replace(others).map_or(0, |before| others.saturating_sub(before));
        if rise < NOISE { 0 } else { rise.saturating_mul(AHEAD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1024 * 1024;

    /// A task with `limit` bytes above its margin, in which others use `others`.
    struct Model {
        pace: Pace,
        limit: i64,
        others: i64,
        held: u64,
        now: Duration,
    }

    impl Model {
        fn new(limit: i64) -> Model {
            Model { pace: Pace::default(), limit, others: 0, held: 0, now: Duration::ZERO }
        }

        fn room(&self) -> i64 {
            self.limit - self.others - self.held.cast_signed()
        }

        fn look(&mut self, goal: i64) -> Next {
            self.now += Duration::from_millis(5);
            let (now, room, held) = (self.now, self.room(), self.held);
            let next = self.pace.next(Look { now, room, held, settled: true, goal: goal.cast_unsigned() });
            match next {
                Next::Keep => {}
                Next::Take(bytes) => self.held += bytes,
                Next::GiveBack(bytes) => self.held -= bytes,
            }
            next
        }
    }

    #[test]
    fn all_that_is_asked_is_taken_where_there_is_room() {
        let mut model = Model::new(4000 * MIB);
        let goal = 1000 * MIB + 4096;
        let looks = (1..).find(|_| model.look(goal) == Next::Keep).unwrap();
        assert_eq!(model.held, goal.cast_unsigned());
        assert!(looks < 20, "{looks}");
    }

    #[test]
    fn the_room_is_never_overstepped() {
        let mut model = Model::new(300 * MIB);
        for _ in 0..200 {
            model.look(1000 * MIB);
            assert!(model.room() >= 0);
        }
        assert!(model.room() < 2 * MIB, "{}", model.room());
    }

    #[test]
    fn fast_growth_of_others_finds_room_ahead_of_it() {
        let mut model = Model::new(284 * MIB);
        while model.look(1000 * MIB) != Next::Keep {}
        // 160 MiB in 0.2 s, of which the margin of 16 MiB takes the first.
        let mut least = i64::MAX;
        for _ in 0..40 {
            model.others += 4 * MIB;
            least = least.min(model.room());
            model.look(1000 * MIB);
        }
        assert!(least >= -8 * MIB, "{least}: half of the margin was used");
        assert!(model.room() >= 0);
    }

    #[test]
    fn after_giving_back_it_is_calm() {
        let mut model = Model::new(100 * MIB);
        while model.look(50 * MIB) != Next::Keep {}
        model.others = 80 * MIB;
        assert!(matches!(model.look(50 * MIB), Next::GiveBack(_)));
        model.others = 0;
        let calm = (1..).find(|_| matches!(model.look(50 * MIB), Next::Take(_))).unwrap();
        assert!((99..=101).contains(&calm), "{calm}");
    }

    #[test]
    fn what_cannot_be_read_is_no_room() {
        let mut pace = Pace::default();
        let mut look = Look { now: Duration::ZERO, room: i64::MIN, held: 5, settled: true, goal: 1 << 30 };
        assert_eq!(pace.next(look), Next::GiveBack(5));
        look.held = 0;
        assert_eq!(pace.next(look), Next::Keep);
    }

    #[test]
    fn what_is_being_taken_is_not_taken_for_others() {
        let mut pace = Pace::default();
        let look = Look { now: Duration::ZERO, room: 100 * MIB, held: 0, settled: true, goal: 1 << 30 };
        assert_eq!(pace.next(look), Next::Take(50 << 20));
        // Half of it is there and has not been told yet.
        let look = Look { room: 75 * MIB, settled: false, ..look };
        assert_eq!(pace.next(look), Next::Keep);
        assert_eq!(
            pace.next(Look { room: 50 * MIB, held: 50 << 20, settled: true, ..look }),
            Next::Take(25 << 20)
        );
    }
}
