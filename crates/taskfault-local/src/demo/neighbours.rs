//! Who else is at work on this machine, before the demo is: a busy machine makes every figure of it worse.

use std::ffi::OsStr;
use std::time::Duration;

use experiment::traffic::DEFAULT_RATE;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

/// How long it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// CPUs that the demo needs for itself: 30 requests of 20 ms in a second, a stress of 80 % of a core, the rest.
const NEEDED: f64 = 1.5;
/// How many are named, and from how much of a CPU on, in percent.
const NAMED: usize = 3;
const WORTH_A_NAME: f32 = 20.0;

/// What others use.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Neighbours {
    cpus: f64,
    used: f64,
    /// The busiest programs, with their process ids and percent of a CPU.
    busiest: Vec<(String, u32, f32)>,
}

impl Neighbours {
    /// Looks for half a second. Starts no thread. Where the system does not tell, nobody is busy.
    pub(super) fn look() -> Neighbours {
        let cpu = ProcessRefreshKind::nothing().with_cpu();
        let Ok(mut system) = System::new_with_specifics(RefreshKind::nothing().with_processes(cpu)) else {
            return Neighbours { cpus: f64::INFINITY, used: 0.0, busiest: Vec::new() };
        };
        system.refresh_cpu_usage();
        std::thread::sleep(LOOK);
        system.refresh_cpu_usage();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, cpu);
        let own = std::process::id();
        let mut busiest: Vec<_> = system
            .processes()
            .values()
            .filter(|process| process.thread_kind().is_none() && process.pid().as_u32() != own)
            .filter(|process| process.cpu_usage() >= WORTH_A_NAME)
            .map(|process| (name(process.name()), process.pid().as_u32(), process.cpu_usage()))
            .collect();
        busiest.sort_by(|one, other| other.2.total_cmp(&one.2));
        busiest.truncate(NAMED);
        let cpus = system.cpus().len() as f64;
        Neighbours { cpus, used: cpus * f64::from(system.global_cpu_usage()) / 100.0, busiest }
    }

    /// Whether they leave too little for the demo.
    pub(super) fn are_busy(&self) -> bool {
        self.cpus - self.used < NEEDED.min(0.75 * self.cpus)
    }

    /// Requests per second that the machine has time for.
    pub(super) fn rate(&self) -> f64 {
        match self.cpus - self.used {
            _ if !self.are_busy() => DEFAULT_RATE,
            free if free >= NEEDED / 2.0 => DEFAULT_RATE / 2.0,
            _ => DEFAULT_RATE / 3.0,
        }
    }

    /// Who is busy, and what to do.
    pub(super) fn text(&self) -> String {
        let named: Vec<String> = self
            .busiest
            .iter()
            .map(|(name, pid, percent)| format!("{name} (process {pid}) {percent:.0} %"))
            .collect();
        let who = if named.is_empty() { "no single program".to_owned() } else { named.join(", ") };
        format!(
            "this machine is busy: {:.1} of {:.0} CPUs are in use, by {who}. Wait for them or end them for the best \
             figures",
            self.used, self.cpus
        )
    }
}

/// A name of at most sixteen characters that does nothing to a terminal.
fn name(name: &OsStr) -> String {
    name.to_string_lossy().chars().filter(|c| !c.is_control()).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(cpus: f64, used: f64) -> Neighbours {
        Neighbours { cpus, used, busiest: vec![("rustc".to_owned(), 7, 99.6)] }
    }

    #[test]
    fn a_busy_machine_gets_less_load_and_is_told_by_name() {
        assert_eq!([0.1, 0.9, 1.9].map(|used| neighbours(2.0, used).rate()), [30.0, 15.0, 10.0]);
        assert!(!neighbours(1.0, 0.2).are_busy() && neighbours(1.0, 0.5).are_busy());
        assert!(!neighbours(16.0, 14.0).are_busy());
        let text = neighbours(2.0, 1.5).text();
        assert!(text.contains("1.5 of 2 CPUs") && text.contains("rustc (process 7) 100 %"), "{text}");
    }

    #[test]
    fn this_machine_has_cpus_and_a_name_is_harmless() {
        let now = Neighbours::look();
        assert!(now.cpus >= 1.0 && (0.0..=now.cpus + 0.01).contains(&now.used), "{now:?}");
        assert_eq!(name(OsStr::new("evil\x1b[2J-and-a-rather-long-one")), "evil[2J-and-a-ra");
    }
}
