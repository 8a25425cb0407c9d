//! A restart of the local AWS in the middle of an experiment: what ran is stopped, and it is said what is lost.

use super::experiment::{Ending, ExperimentError, ExperimentStatus, Note};
use super::state::FisState;
use crate::Context;

/// Once in the life of a process: ends the experiments that an earlier process left running. Their commands are
/// cancelled as with every other end. True if there were any.
pub(super) fn end_what_was_running(fis: &mut FisState, context: &Context) -> bool {
    if std::mem::replace(&mut fis.resumed, true) {
        return false;
    }
    let mut lines = Vec::new();
    for experiment in fis.experiments.iter_mut().filter(|experiment| !experiment.status.is_final()) {
        let reason = "The local AWS was restarted while the experiment ran.".to_owned();
        let text = "the local AWS was restarted in the middle: the time it was away is lost, actions that had not \
                    started never will, and the commands of those that ran are cancelled now";
        experiment.notes.push(Note { at: context.now, action: None, text: text.to_owned() });
        lines.push((experiment.id.clone(), text));
        let error = ExperimentError {
            account_id: context.account.clone(),
            code: "InternalFailure".to_owned(),
            location: "experiment".to_owned(),
        };
        experiment.end(Ending { status: ExperimentStatus::Failed, reason, error: Some(error) });
    }
    for (id, text) in &lines {
        fis.log(id, "note", (*text).to_owned());
    }
    !lines.is_empty()
}
