//! `taskfault faults`: what there is, with parameters.

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use faults::document;
use faults::parameter::Field;
use faults::spec::Document;
use faults::{ALL, Parameter, Spec};

/// Options of `taskfault faults`.
#[derive(Debug, clap::Args)]
pub struct FaultsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the registry.
pub fn run(args: &FaultsArgs) -> ExitCode {
    if args.json {
        println!("{:#}", listing());
    } else {
        print!("{}", text());
    }
    ExitCode::SUCCESS
}

/// The faults by their options, and the documents that ask for them by their parameters.
fn listing() -> Value {
    let faults: Vec<_> = ALL.iter().map(|spec| fault(spec)).collect();
    let documents: Vec<_> = document::all().map(document_json).collect();
    json!({ "faults": faults, "documents": documents })
}

fn fault(spec: &Spec) -> Value {
    let parameters: Vec<_> = spec.parameters.iter().map(parameter).collect();
    let documents: Vec<_> = spec.documents.iter().map(|document| document.name).collect();
    json!({
        "name": spec.name,
        "summary": spec.summary,
        "action": spec.action,
        "documents": documents,
        "parameters": parameters,
    })
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "option": parameter.option,
        "fis": parameter.fis,
        "document": parameter.field().map(|field| field.name),
        "default": parameter.default_words(),
        "range": parameter.values.range(),
        "unit": parameter.values.unit(),
        "example": parameter.values.example(),
        "description": parameter.description,
    })
}

fn document_json(document: &Document) -> Value {
    let option = |field: &Field| {
        let is_it = |parameter: &&Parameter| parameter.field().as_ref() == Some(field);
        document.parameters.iter().find(is_it).map(|parameter| parameter.option)
    };
    let field = |field: Field| {
        json!({
            "name": field.name,
            "option": option(&field),
            "default": field.default,
            "pattern": field.pattern,
        })
    };
    let parameters: Vec<_> = document.fields().map(field).collect();
    json!({ "name": document.name, "heartbeats": document.heartbeats, "parameters": parameters })
}

/// A line for each fault, and below it a row for each of its parameters, in columns that all faults share.
fn text() -> String {
    let rows = |spec: &Spec| -> Vec<_> { spec.parameters.iter().map(row).collect() };
    let all: Vec<_> = ALL.iter().flat_map(|spec| rows(spec)).chain([HEAD.map(String::from)]).collect();
    let widths = [0, 1, 2, 3, 4]
        .map(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let mut text = String::new();
    for spec in ALL {
        let _ = writeln!(text, "{}: {}", spec.name, spec.summary);
        for row in [HEAD.map(String::from)].into_iter().chain(rows(spec)) {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            let _ = writeln!(text, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        text.push('\n');
    }
    text
}

const HEAD: [&str; 5] = ["OPTION", "DEFAULT", "VALUES", "IN FIS", "MEANING"];

fn row(parameter: &Parameter) -> [String; 5] {
    [
        format!("--{}", parameter.option),
        parameter.default_words().unwrap_or("required").to_owned(),
        format!("{} {}", parameter.values.range(), parameter.values.unit()).trim_end().to_owned(),
        parameter.fis.unwrap_or("-").to_owned(),
        parameter.description.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_fault_and_its_columns_are_aligned() {
        let text = text();
        for spec in ALL {
            let from = text.find(&format!("{}: {}\n", spec.name, spec.summary)).unwrap();
            let table: Vec<&str> = text[from..].lines().skip(1).take(spec.parameters.len() + 1).collect();
            for (parameter, row) in spec.parameters.iter().zip(&table[1..]) {
                let default = parameter.default_words().unwrap_or("required");
                for (heading, cell) in
                    [("OPTION", "--"), ("DEFAULT", default), ("MEANING", parameter.description)]
                {
                    let column = table[0].find(heading).unwrap();
                    assert!(row[column..].starts_with(cell), "{row}");
                    assert_eq!(&row[column - 1..column], " ", "{row}");
                }
            }
        }
    }

    #[test]
    fn the_json_has_what_a_reference_page_needs() {
        let listing = listing();
        let cpu = &listing["faults"][0];
        assert_eq!(cpu["action"], "aws:ecs:task-cpu-stress");
        assert_eq!(cpu["documents"], json!(["AWSFIS-Run-CPU-Stress"]));
        assert_eq!(
            cpu["parameters"][1],
            json!({
                "option": "percent", "fis": "percent", "document": "LoadPercent", "default": "100",
                "range": "0-100", "unit": "%", "example": "100",
                "description": "share of a core per worker; with 0 workers, share of the task's CPU limit",
            })
        );
        let document = &listing["documents"][0];
        assert_eq!(document["name"], "AWSFIS-Run-CPU-Stress");
        assert_eq!(
            document["parameters"][1],
            json!({"name": "CPU", "option": "workers", "default": "0", "pattern": "^[0-9]+$"})
        );
    }
}
