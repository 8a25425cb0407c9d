//! The partitions of AWS: their regions, and what their hosts are called. Pure.
//!
//! The table comes from botocore (`scripts/partitions`). A region that is newer than it is known by its name's form.

const TABLE: &str = include_str!("partitions.txt");

/// A partition that taskfault knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// `aws`, `aws-cn`, …, as in ARNs.
    pub name: &'static str,
    /// What its hosts' names end with.
    pub dns_suffix: &'static str,
    /// The same of hosts that have IPv6 addresses as well.
    pub dual_stack_suffix: &'static str,
    /// What the names of its regions begin with, with blanks between.
    regions: &'static str,
}

impl Partition {
    /// The partition of that name; None if there was none when this program was made.
    pub fn find(name: &str) -> Option<Partition> {
        Partition::all().find(|partition| partition.name == name)
    }

    /// All of them, in alphabetical order.
    pub fn all() -> impl Iterator<Item = Partition> {
        TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let mut words = line.splitn(4, ' ');
            Some(Partition {
                name: words.next()?,
                dns_suffix: words.next()?,
                dual_stack_suffix: words.next()?,
                regions: words.next()?,
            })
        })
    }

    /// Whether a region is, or may come to be, one of this partition: a beginning, a word and a number.
    pub fn may_have(&self, region: &str) -> bool {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        self.regions.split(' ').any(|beginning| {
            let rest = region.strip_prefix(beginning).and_then(|rest| rest.strip_prefix('-'));
            let parts = rest.and_then(|rest| rest.split_once('-'));
            parts.is_some_and(|(word, number)| is_word(word) && is_number(number))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_is_one_partitions() {
        for (region, name) in [
            ("us-east-1", "aws"),
            ("mx-central-1", "aws"),
            ("ap-southeast-99", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            let found: Vec<_> =
                Partition::all().filter(|it| it.may_have(region)).map(|partition| partition.name).collect();
            assert_eq!(found, [name], "{region}");
        }
    }

    #[test]
    fn what_is_no_region_is_nobodys() {
        for region in [
            "",
            "us-east",
            "us-east-",
            "us--1",
            "us-east-1a",
            "xx-east-1",
            "us-east-1.evil.com",
            "eusc-fr-west-1",
        ] {
            assert!(!Partition::all().any(|partition| partition.may_have(region)), "{region}");
        }
        assert_eq!(Partition::find("aws-moon"), None);
    }
}
