//! The three Availability Zones over which tasks are spread, each with one subnet and one container instance.
//!
//! The subnets are parts of the network that tasks of `up` really have (169.254.172.0/22, of which the first /24 is the
//! gateway's), so that an experiment which names a zone reaches the tasks in it.

use std::net::Ipv4Addr;

use super::names::arn;
use crate::Context;
use crate::wire::sha256_hex;

/// An Availability Zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Zone(u8);

/// How many there are.
const COUNT: u8 = 3;

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Its lowest address.
    pub first: Ipv4Addr,
    /// Length of the prefix, in bits.
    pub bits: u8,
}

impl Zone {
    /// All of them, in the order of their letters.
    pub fn all() -> impl Iterator<Item = Zone> {
        (0..COUNT).map(Zone)
    }

    /// The same zone for the same text.
    pub(super) fn of_text(text: &str) -> Zone {
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        Zone(sum % COUNT)
    }

    /// `us-east-1a`.
    pub fn name(self, region: &str) -> String {
        format!("{region}{}", char::from(b'a' + self.0))
    }

    /// `use1-az1`. Which name has which id differs between accounts; here the letters have them in turn.
    pub fn id(self, region: &str) -> String {
        format!("{}-az{}", short_region(region), self.0 + 1)
    }

    /// The zone by its name or id.
    pub fn find(name_or_id: &str, region: &str) -> Option<Zone> {
        Zone::all().find(|zone| zone.name(region) == name_or_id || zone.id(region) == name_or_id)
    }

    /// `subnet-` and 17 hex digits.
    pub fn subnet_id(self, region: &str) -> String {
        format!("subnet-0{}", &sha256_hex(self.name(region).as_bytes())[..16])
    }

    /// What belongs to the zone's subnet.
    pub fn subnet(self) -> Subnet {
        Subnet { first: Ipv4Addr::new(169, 254, 173 + self.0, 0), bits: 24 }
    }

    /// The zone of a subnet in the list of a request. One that is not from here stands for a zone by its place in the
    /// list: a request that was written for another account has its tasks spread as there.
    pub(super) fn of_subnet(subnet: &str, place: usize, region: &str) -> Zone {
        let own = Zone::all().find(|zone| zone.subnet_id(region) == subnet);
        own.unwrap_or_else(|| Zone(u8::try_from(place % usize::from(COUNT)).unwrap_or(0)))
    }

    /// The id of the zone's container instance in a cluster: 32 hex digits.
    pub(super) fn instance_id(self, cluster: &str) -> String {
        sha256_hex(format!("{cluster}/{}", self.0).as_bytes())[..32].to_owned()
    }

    /// Its ARN.
    pub(super) fn instance_arn(self, cluster: &str, context: &Context) -> String {
        arn(context, &format!("container-instance/{cluster}/{}", self.instance_id(cluster)))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

/// How ids of zones begin: `use1`, `apne2`, `usgw1`, `euw1`.
fn short_region(region: &str) -> String {
    let mut parts = region.split('-');
    let country = parts.next().unwrap_or_default().to_owned();
    parts.fold(country, |short, part| {
        let compass = ["north", "south", "east", "west", "central"].into_iter().fold(
            (String::new(), part),
            |(short, rest), word| match rest.strip_prefix(word) {
                Some(rest) => (short + &word[..1], rest),
                None => (short, rest),
            },
        );
        match compass {
            (short_part, "") if !short_part.is_empty() => short + &short_part,
            // `gov`, and the number.
            _ => short + &part[..1],
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_the_names_and_ids_of_their_region() {
        for (region, id) in [
            ("us-east-1", "use1-az2"),
            ("eu-west-3", "euw3-az2"),
            ("ap-northeast-2", "apne2-az2"),
            ("ap-southeast-1", "apse1-az2"),
            ("us-gov-west-1", "usgw1-az2"),
            ("ca-central-1", "cac1-az2"),
            ("cn-northwest-1", "cnnw1-az2"),
        ] {
            let zone = Zone::find(id, region).unwrap();
            assert_eq!(zone.name(region), format!("{region}b"));
            assert_eq!(Zone::find(&zone.name(region), region), Some(zone));
        }
        assert_eq!(Zone::find("us-east-1d", "us-east-1"), None);
        assert_eq!(Zone::find("us-west-2a", "us-east-1"), None);
    }

    #[test]
    fn subnets_do_not_overlap_and_are_found_by_their_ids() {
        let subnets: Vec<String> = Zone::all().map(|zone| zone.subnet().to_string()).collect();
        assert_eq!(subnets, ["169.254.173.0/24", "169.254.174.0/24", "169.254.175.0/24"]);
        for zone in Zone::all() {
            assert_eq!(Zone::of_subnet(&zone.subnet_id("eu-west-1"), 7, "eu-west-1"), zone);
        }
        let places: Vec<Zone> = (0..4).map(|place| Zone::of_subnet("subnet-1", place, "eu-west-1")).collect();
        assert_eq!(places, [Zone(0), Zone(1), Zone(2), Zone(0)]);
    }
}
