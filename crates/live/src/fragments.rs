//! The parts of the page that change, each by its element's id.

mod alarms;
mod charts;
mod events;
mod experiments;
mod now;
mod tasks;
mod templates;

use maud::{Markup, html};

use crate::view::View;

/// One part: the id of its element, and what that holds.
pub(crate) type Fragment = (&'static str, String);

/// All parts, in the order in which people look.
pub(crate) fn all(view: &View) -> Vec<Fragment> {
    let parts: [(&'static str, Markup); 8] = [
        ("said", events::latest(view)),
        ("now", now::shown(view)),
        ("charts", charts::shown(view)),
        ("tasks", tasks::shown(view)),
        ("experiments", experiments::shown(view)),
        ("alarms", alarms::shown(view)),
        ("events", events::shown(view)),
        ("templates", templates::shown(view)),
    ];
    parts.map(|(id, markup)| (id, clean(markup))).into()
}

/// Without the control characters that words of others may have brought along.
fn clean(markup: Markup) -> String {
    markup.into_string().replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

/// A word in a colour that says whether it is a good one.
fn badge(word: &str) -> Markup {
    let class = match word {
        "completed" | "Success" | "RUNNING" | "Online" | "OK" => "badge good",
        "failed" | "stopped" | "cancelled" | "Failed" | "ALARM" | "TimedOut" | "DeliveryTimedOut"
        | "ConnectionLost" => "badge bad",
        "running" | "initiating" | "stopping" | "InProgress" => "badge busy",
        _ => "badge",
    };
    html! { span class=(class) { (word) } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Alarm, Container, Event, Service, Span, Task, Template};

    const HOSTILE: &str = "</pre><img src=x onerror=alert(1)>\"'\u{1b}";

    fn view() -> View {
        let record = record::sample::record();
        View { now: record.to, span: Span::All, record, ..View::default() }
    }

    fn part(view: &View, id: &str) -> String {
        all(view).into_iter().find(|(name, _)| *name == id).unwrap().1
    }

    #[test]
    fn words_of_others_are_text_wherever_they_stand() {
        let hostile = || HOSTILE.to_owned();
        let mut view = view();
        let experiment = &mut view.record.experiments[0];
        (experiment.description, experiment.reason, experiment.id) = (hostile(), hostile(), hostile());
        (experiment.status, experiment.ended) = ("running".to_owned(), None);
        (experiment.actions[0].name, experiment.actions[0].reason) = (hostile(), hostile());
        experiment.targets[0].name = hostile();
        view.ends.insert(hostile(), view.now + 5.0);
        view.record.commands[0].document = hostile();
        for step in &mut view.record.commands[0].steps {
            (step.asked, step.achieved) = (Some(hostile()), Some(hostile()));
            step.remarks.push(hostile());
        }
        view.record.notes[0].text = hostile();
        view.record.alarms[0].alarm = hostile();
        let load = view.record.load.as_mut().unwrap();
        load.what = hostile();
        load.seconds[10].errors.insert(hostile(), 1);
        view.services = vec![Service { name: hostile(), cluster: hostile(), ..Service::default() }];
        let container =
            Container { name: hostile(), image: hostile(), reason: hostile(), ..Container::default() };
        view.tasks = vec![Task {
            arn: hostile(),
            id: hostile(),
            why: Some((hostile(), hostile())),
            containers: vec![container],
            faults: vec![(hostile(), 1.0)],
            sidecar: Some((hostile(), "Online")),
            stopped: Some(2.0),
            replaced_by: Some(hostile()),
            ..Task::default()
        }];
        view.alarms = vec![Alarm { name: hostile(), reason: hostile(), rule: hostile(), ..Alarm::default() }];
        let mut template = Template { id: hostile(), description: hostile(), ..Template::default() };
        template.actions.push((hostile(), hostile()));
        template.outlook.obstacles.push(hostile());
        view.templates = vec![template];
        view.events = vec![Event { at: view.now, source: "ECS", about: hostile(), text: hostile() }];
        for (id, html) in all(&view) {
            assert!(!html.contains("<img") && !html.contains('\u{1b}'), "{id}: {html}");
            assert!(!html.contains("onerror=alert(1)>\""), "{id}");
            assert!(html.is_empty() || html.contains("&lt;img") || html.len() < 60, "{id} shows it: {html}");
        }
    }

    #[test]
    fn an_empty_world_is_shown_too() {
        for (id, html) in all(&View::default()) {
            assert!(!html.contains("NaN"), "{id}");
        }
    }

    #[test]
    fn a_running_experiment_has_a_countdown_and_a_stop() {
        let mut view = view();
        (view.record.experiments[0].status, view.record.experiments[0].ended) = ("running".to_owned(), None);
        assert!(!part(&view, "now").contains("data-until"));
        view.ends.insert("EXP1".to_owned(), 1234.5);
        let html = part(&view, "now");
        assert!(
            html.contains("data-until=\"1234.5\">at 00:20:34<") && html.contains("data-stop=\"EXP1\""),
            "{html}"
        );
        assert_eq!(html.matches("data-stop").count(), 1, "the other has ended");
    }

    #[test]
    fn fifty_tasks_have_a_place_each_and_ids_of_their_own() {
        let task = |number: u32| Task {
            id: format!("{number:032x}"),
            status: "RUNNING".to_owned(),
            containers: vec![Container { name: "app".into(), status: "RUNNING", ..Container::default() }],
            ..Task::default()
        };
        let view = View { tasks: (0..50).map(task).collect(), ..view() };
        let html = part(&view, "tasks");
        let ids: std::collections::BTreeSet<&str> =
            html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(html.matches(" id=\"").count(), ids.len());
        assert!(html.matches("class=\"task").count() >= 50);
    }

    #[test]
    fn what_would_fail_is_said_beside_the_button() {
        let mut template =
            Template { id: "EXT1".into(), description: "Stress".into(), ..Template::default() };
        let mut view = view();
        view.templates = vec![template.clone()];
        let fine = part(&view, "templates");
        assert!(fine.contains("data-start=\"EXT1\"") && fine.contains("data-rehearse=\"EXT1\""), "{fine}");
        assert!(!fine.contains("would fail"));
        template.outlook.obstacles.push("no sidecar is Online in task 1".into());
        view.templates = vec![template];
        let html = part(&view, "templates");
        assert!(html.contains("would fail") && html.contains("no sidecar is Online"), "{html}");
    }
}
