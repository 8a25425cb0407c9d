//! The regions: a world each, because a client acts in the region that it signs for. One is the home of everything
//! that is not signed, of the tasks of `up`, and of what AWS has once for all regions.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::SystemTime;

use regex::Regex;
use serde::Serialize;

use super::World;
use crate::documents;
use crate::iam::IamState;
use crate::ssm::state::RoleToken;

/// The worlds.
#[derive(Debug, Serialize)]
pub(crate) struct Regions {
    /// Its members stand at the top of the state file, as from its first day.
    #[serde(flatten)]
    pub(super) home: World,
    #[serde(rename = "home_region")]
    pub(super) region: String,
    #[serde(rename = "regions", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) others: BTreeMap<String, World>,
    #[serde(skip)]
    started: SystemTime,
}

impl Regions {
    /// The home, and worlds that are there already. Each gets the documents of AWS.
    pub(super) fn new(region: &str, home: World, others: BTreeMap<String, World>) -> Regions {
        let started = SystemTime::now();
        let mut regions = Regions { home, region: region.to_owned(), others, started };
        regions.each(|_, world| built_in(world, started));
        for world in regions.others.values_mut() {
            world.fis.tasks_elsewhere = Some(region.to_owned());
        }
        regions
    }

    /// The world of everything that is not signed.
    pub(crate) fn home(&mut self) -> &mut World {
        &mut self.home
    }

    /// The world of a region, made at the first call.
    pub(crate) fn of(&mut self, region: &str) -> &mut World {
        if region == self.region {
            return &mut self.home;
        }
        let started = self.started;
        let (quota, any_role) = (self.home.fis.targets_per_action, self.home.fis.any_role);
        let home = self.region.clone();
        let (iam, scripts) = (&self.home.iam, &self.home.ssm.automations.scripts);
        self.others.entry(region.to_owned()).or_insert_with(|| {
            let mut world = World::default();
            world.fis.targets_per_action = quota;
            world.fis.any_role = any_role;
            world.fis.tasks_elsewhere = Some(home);
            world.iam = iam.clone();
            world.ssm.automations.scripts = scripts.clone();
            built_in(&mut world, started);
            world
        })
    }

    /// Changes IAM, which is one for all regions.
    pub(crate) fn change_iam<T>(&mut self, change: impl FnOnce(&mut IamState) -> T) -> T {
        let result = change(&mut self.home.iam);
        for world in self.others.values_mut() {
            world.iam = self.home.iam.clone();
        }
        result
    }

    /// Does something in each.
    pub(crate) fn each(&mut self, mut act: impl FnMut(&str, &mut World)) {
        act(&self.region, &mut self.home);
        self.others.iter_mut().for_each(|(region, world)| act(region, world));
    }

    /// The region where this managed instance is registered; the home for one that is not known.
    pub(crate) fn of_instance(&self, id: &str) -> &str {
        self.find(|world| world.ssm.instances.contains_key(id)).unwrap_or(&self.region)
    }

    /// The region where this activation was made; the home for one that is not known.
    pub(crate) fn of_activation(&self, id: &str) -> &str {
        self.find(|world| world.ssm.activations.contains_key(id)).unwrap_or(&self.region)
    }

    /// A role token and its region, by its access key.
    pub(crate) fn token(&self, access_key: &str) -> Option<(&str, &RoleToken)> {
        let region = self.find(|world| world.ssm.tokens.contains_key(access_key))?;
        let world = if region == self.region { &self.home } else { self.others.get(region)? };
        Some((region, world.ssm.tokens.get(access_key)?))
    }

    fn find(&self, meant: impl Fn(&World) -> bool) -> Option<&str> {
        if meant(&self.home) {
            return Some(&self.region);
        }
        self.others.iter().find(|(_, world)| meant(world)).map(|(region, _)| region.as_str())
    }
}

fn built_in(world: &mut World, started: SystemTime) {
    for document in documents::built_in(started) {
        world.ssm.documents.insert(document.name.clone(), document);
    }
}

/// Whether a region may be one of AWS's: by its form, so that new ones are, and nothing else makes a world.
pub(crate) fn is_region(name: &str) -> bool {
    static FORM: OnceLock<Regex> = OnceLock::new();
    let form = FORM.get_or_init(|| {
        let form = "^(us-gov|us-isob?|us-isof|eu-isoe|eusc-de|us|eu|ap|sa|ca|me|af|cn|il|mx)-\
                    (north|south|east|west|central|northeast|northwest|southeast|southwest)-[1-9]$";
        #[expect(clippy::expect_used, reason = "a constant")]
        Regex::new(form).expect("a constant")
    });
    form.is_match(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_known_by_their_form() {
        for name in
            ["us-east-1", "us-west-2", "ap-southeast-7", "us-gov-west-1", "cn-northwest-1", "eusc-de-east-1"]
        {
            assert!(is_region(name), "{name}");
        }
        for name in
            ["", "local", "us-east", "us-east-10", "US-EAST-1", "us-east-1a", "xx-east-1", "us-east-1\n"]
        {
            assert!(!is_region(name), "{name:?}");
        }
    }

    #[test]
    fn each_region_has_a_world_of_its_own() {
        let mut regions = Regions::new("eu-west-1", World::default(), BTreeMap::new());
        regions.home().fis.targets_per_action = Some(7);
        let other = regions.of("us-west-2");
        assert_eq!(other.fis.targets_per_action, Some(7));
        assert_eq!(other.fis.tasks_elsewhere.as_deref(), Some("eu-west-1"));
        assert!(other.ssm.documents.contains_key("AWSFIS-Run-CPU-Stress"));
        other.ssm.documents.clear();
        assert!(regions.of("eu-west-1").ssm.documents.contains_key("AWSFIS-Run-CPU-Stress"));
        assert_eq!(regions.of_instance("mi-1"), "eu-west-1");
        let mut seen = Vec::new();
        regions.each(|region, _| seen.push(region.to_owned()));
        assert_eq!(seen, ["eu-west-1", "us-west-2"]);
    }
}
