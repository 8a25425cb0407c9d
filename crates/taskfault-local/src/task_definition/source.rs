//! The text of a task definition, JSON or YAML, read so that it can be written again in the order that it has.
//! Knows what describe-task-definition puts around and into a definition, nothing of sidecars.

use serde_norway::{Mapping, Value};

use super::members::{list, set};

/// What only DescribeTaskDefinition has; RegisterTaskDefinition refuses them. A test of `tests/cli` holds this
/// against botocore's model.
const DESCRIBED: [&str; 9] = [
    "compatibilities",
    "deleteRequestedAt",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "taskDefinitionArn",
];

/// A definition and the form that it came in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    form: Form,
    definition: Mapping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Yaml,
}

impl Source {
    /// Reads a definition, or the answer of DescribeTaskDefinition with its tags.
    ///
    /// # Errors
    /// The text is neither JSON nor YAML, or something else than a task definition.
    pub(super) fn read(text: &str) -> Result<Source, String> {
        let (form, value) = parse(text)?;
        let Value::Mapping(mut whole) = value else {
            return Err(
                "this is no task definition: an object with containerDefinitions is wanted".to_owned()
            );
        };
        let mut definition = match whole.shift_remove("taskDefinition") {
            Some(Value::Mapping(described)) => described,
            Some(_) => return Err("taskDefinition is no object".to_owned()),
            None => whole.clone(),
        };
        refuse_others(&definition)?;
        DESCRIBED.iter().for_each(|member| drop(definition.shift_remove(*member)));
        // Beside the definition where it is described, in it where it is registered; an empty list says nothing.
        let beside = list(&whole, "tags").filter(|tags| !tags.is_empty());
        if let (Some(tags), None) = (beside, definition.get("tags")) {
            set(&mut definition, "tags", tags.clone());
        }
        Ok(Source { form, definition })
    }

    pub(super) fn definition(&self) -> &Mapping {
        &self.definition
    }

    pub(super) fn definition_mut(&mut self) -> &mut Mapping {
        &mut self.definition
    }

    /// The text, in the form that it was read in.
    ///
    /// # Errors
    /// YAML can say things that JSON cannot.
    pub(super) fn write(&self) -> Result<String, String> {
        let written = match self.form {
            Form::Json => serde_json::to_string_pretty(&self.definition).map_err(|error| error.to_string()),
            Form::Yaml => serde_norway::to_string(&self.definition).map_err(|error| error.to_string()),
        };
        written.map(|text| text.trim_end().to_owned() + "\n").map_err(|error| format!("writing it: {error}"))
    }
}

fn parse(text: &str) -> Result<(Form, Value), String> {
    match text.trim_start().starts_with(['{', '[']) {
        true => {
            let value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
            Ok((Form::Json, value))
        }
        false => {
            let mut value: Value = serde_norway::from_str(text)
                .map_err(|error| format!("this is neither JSON nor YAML: {error}"))?;
            value.apply_merge().map_err(|error| format!("this is no YAML that can be read: {error}"))?;
            Ok((Form::Yaml, value))
        }
    }
}

/// What is not a task definition, and what people take for one.
fn refuse_others(definition: &Mapping) -> Result<(), String> {
    if definition.contains_key("Resources") || definition.contains_key("ContainerDefinitions") {
        let message = "this is CloudFormation, where members begin with a capital letter; a definition as \
                       register-task-definition takes it is wanted (deploy/cloudformation has the sidecar for templates)";
        return Err(message.to_owned());
    }
    match list(definition, "containerDefinitions") {
        Some(containers) if !containers.is_empty() && containers.iter().all(Value::is_mapping) => Ok(()),
        Some(_) => Err("containerDefinitions is no list of containers".to_owned()),
        None if definition.contains_key("containerDefinitions") => {
            Err("containerDefinitions is no list of containers".to_owned())
        }
        None => Err("this is no task definition: it has no containerDefinitions".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_what_is_not_known_stay() {
        let text = "{\n  \"zeta\": 1.5,\n  \"family\": \"web\",\n  \"containerDefinitions\": [\n    {\n      \
                    \"name\": \"app\",\n      \"cpu\": 0\n    }\n  ],\n  \"alpha\": null\n}\n";
        assert_eq!(Source::read(text).unwrap().write().unwrap(), text);
    }

    #[test]
    fn yaml_comes_back_as_yaml() {
        let text = "family: web\ncpu: '256'\ncontainerDefinitions:\n- name: app\n  image: app\n";
        assert_eq!(Source::read(text).unwrap().write().unwrap(), text);
        let merged = "x: &x\n  image: app\ncontainerDefinitions:\n- <<: *x\n  name: app\n";
        let merged = Source::read(merged).unwrap().write().unwrap();
        assert_eq!(merged.matches("image: app").count(), 2, "{merged}");
    }

    #[test]
    fn what_describe_adds_goes_and_tags_come_in() {
        let text = r#"{"taskDefinition": {"taskDefinitionArn": "a", "containerDefinitions": [{"name": "app"}],
            "family": "web", "revision": 3, "status": "ACTIVE", "requiresAttributes": [], "compatibilities": [],
            "registeredAt": 1.5, "registeredBy": "x"}, "tags": [{"key": "team", "value": "a"}]}"#;
        let source = Source::read(text).unwrap();
        let names: Vec<_> = source.definition().keys().filter_map(Value::as_str).collect();
        assert_eq!(names, ["containerDefinitions", "family", "tags"]);
    }

    #[test]
    fn what_is_no_definition_is_refused_with_what_it_is() {
        for (text, said) in [
            ("", "no task definition"),
            ("not json", "no task definition"),
            ("{\"family\": ", "no JSON"),
            ("{\"family\": \"a\", \"family\": \"b\"}", "duplicate"),
            ("[]", "no task definition"),
            ("a: [", "neither JSON nor YAML"),
            ("{\"family\": \"web\"}", "no containerDefinitions"),
            ("{\"containerDefinitions\": {}}", "no list"),
            ("{\"containerDefinitions\": []}", "no list"),
            ("{\"containerDefinitions\": [1]}", "no list"),
            ("{\"taskDefinition\": []}", "no object"),
            ("Resources: {}", "CloudFormation"),
            ("ContainerDefinitions: []", "CloudFormation"),
        ] {
            let error = Source::read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
