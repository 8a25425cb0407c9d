//! A step with what its output says of a fault, as data ([`outcome`]).

use outcome::Outcome;

use crate::Step;

impl Step {
    /// A step with the members that its output gives. Outputs that carry no figures of a fault have neither an
    /// `asked` nor an `achieved`: nothing is guessed.
    pub fn of_output(output: &str) -> Step {
        let step = Step { output: output.to_owned(), ..Step::default() };
        let Some(told) = Outcome::read(output) else { return step };
        let mut remarks = told.notes.clone();
        remarks.push(told.end());
        Step {
            asked: Some(told.asked.text.clone()),
            achieved: Some(told.achieved.text.clone()),
            remarks,
            outcome: Some(told),
            ..step
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_read() {
        let step = Step::of_output(
            "for people\n{\"taskfault\":1,\"fault\":\"cpu-stress\",\
             \"asked\":{\"text\":\"80 % of each of 2 CPUs for 12 s\",\"seconds\":12.0,\"percent\":80},\
             \"achieved\":{\"text\":\"mean 70.0 %\",\"per_second\":[80.0,60.0],\"seconds_each\":1},\
             \"ending\":\"cancelled\",\"lived_seconds\":10.0,\"undone\":true,\
             \"notes\":[\"missed: 10.0 points on average; other work had the CPU\"]}\n",
        );
        assert_eq!(step.asked.as_deref(), Some("80 % of each of 2 CPUs for 12 s"));
        assert_eq!(step.achieved.as_deref(), Some("mean 70.0 %"));
        assert_eq!(
            step.remarks,
            [
                "missed: 10.0 points on average; other work had the CPU",
                "cancelled after 10.0 s of 12 s; undone"
            ]
        );
        assert_eq!(step.outcome.unwrap().achieved.per_second, [80.0, 60.0]);
    }

    #[test]
    fn a_kill_is_read() {
        let step = Step::of_output(
            "{\"taskfault\":1,\"fault\":\"kill-process\",\
             \"asked\":{\"text\":\"SIGKILL for every process called python\",\"seconds\":5.0},\
             \"achieved\":{\"text\":\"signalled: 1 process: 7 python; ended within 5 s: 1 of 1\"},\
             \"matched\":1,\"ending\":\"completed\",\"lived_seconds\":0.1,\
             \"notes\":[\"1 init was left alone: it is pid 1\"]}\n",
        );
        assert_eq!(step.asked.as_deref(), Some("SIGKILL for every process called python"));
        assert_eq!(
            step.achieved.as_deref(),
            Some("signalled: 1 process: 7 python; ended within 5 s: 1 of 1")
        );
        assert_eq!(step.remarks, ["1 init was left alone: it is pid 1", "completed after 0.1 s of 5 s"]);
    }

    #[test]
    fn what_is_not_ours_is_left_as_it_is() {
        for output in ["hello\n", "cpu-stress: asked 80 % for 4 s\nachieved: mean 79.9 %\n"] {
            let step = Step::of_output(output);
            assert_eq!((step.asked, step.achieved, step.outcome), (None, None, None));
            assert_eq!(step.output, output);
        }
    }
}
