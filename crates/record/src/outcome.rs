//! What a fault was asked and what it achieved, read from the output of its step.

use crate::Step;

/// A step with the members that its output gives. Outputs that are not taskfault's have neither an `asked`
/// nor an `achieved`: nothing is guessed.
pub fn step_output(output: &str) -> Step {
    let mut step = Step { output: output.to_owned(), ..Step::default() };
    let mut achieved: Vec<&str> = Vec::new();
    for line in output.lines() {
        if let Some((_, asked)) = line.split_once(": asked ")
            && step.asked.is_none()
        {
            step.asked = Some(asked.to_owned());
        } else if let Some(text) = line.strip_prefix("achieved: ") {
            achieved.push(text);
        } else if line.starts_with("signalled: ") || line.starts_with("ended within ") {
            // A kill has achieved what it signalled, and what of it has ended.
            achieved.push(line);
        } else if is_remark(line) {
            step.remarks.push(line.strip_prefix("note: ").unwrap_or(line).to_owned());
        }
    }
    step.achieved = (!achieved.is_empty()).then(|| achieved.join("; "));
    step
}

/// Lines that say more in words. The rows of figures by second are none of them.
fn is_remark(line: &str) -> bool {
    let row = line.starts_with(' ') || line.starts_with("achieved per ");
    let told_already = line.starts_with("let through: ");
    !(line.trim().is_empty() || row || told_already)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_read() {
        let step = step_output(
            "cpu-stress: asked 80 % of each of 2 CPUs for 12 s (2 threads, 80.0 % of a core each)\n\
             achieved: mean 70.0 %, 1 s windows 60.0 to 80.0 %\nachieved per second, %:\n     \
             0 s:  80.0  60.0\nmissed: 10.0 points on average; other work had the CPU\n\
             cancelled after 10.0 s of 12 s; undone: no thread left\n",
        );
        assert_eq!(
            step.asked.as_deref(),
            Some("80 % of each of 2 CPUs for 12 s (2 threads, 80.0 % of a core each)")
        );
        assert_eq!(step.achieved.as_deref(), Some("mean 70.0 %, 1 s windows 60.0 to 80.0 %"));
        assert_eq!(
            step.remarks,
            [
                "missed: 10.0 points on average; other work had the CPU",
                "cancelled after 10.0 s of 12 s; undone: no thread left"
            ]
        );
    }

    #[test]
    fn a_kill_is_read() {
        let step = step_output(
            "kill-process: asked SIGKILL for every process called python\nsignalled: 1 process: 7 python\n\
             ended within 5 s: 1 of 1\nnote: 1 init was left alone: it is pid 1\n",
        );
        assert_eq!(step.asked.as_deref(), Some("SIGKILL for every process called python"));
        assert_eq!(
            step.achieved.as_deref(),
            Some("signalled: 1 process: 7 python; ended within 5 s: 1 of 1")
        );
        assert_eq!(step.remarks, ["1 init was left alone: it is pid 1"]);
    }

    #[test]
    fn what_is_not_ours_is_left_as_it_is() {
        let step = step_output("hello\n");
        assert_eq!((step.asked, step.achieved), (None, None));
        assert_eq!(step.output, "hello\n");
    }
}
