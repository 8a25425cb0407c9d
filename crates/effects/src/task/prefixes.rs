//! The address prefixes of S3 and DynamoDB in the task's region: from the list that AWS publishes where it can be
//! had, else from the one that ships with the program.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Full;
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::partitions::Partition;
use faults::network_source::{Net, Prefixes, Service, Source};
use http_client::{Client, Network, host_of, port_of};

/// Names another place for the published list: a mirror inside a VPC without internet, a test.
pub const LIST_VARIABLE: &str = "TASKFAULT_IP_RANGES_URL";

/// Where AWS publishes it (Amazon VPC user guide, "AWS IP address ranges"), for all partitions.
const LIST_URL: &str = "https://ip-ranges.amazonaws.com/ip-ranges.json";
/// How long the published list may take once somebody answers: it has some megabytes.
const LIST_TIME_LIMIT: Duration = Duration::from_secs(4);
/// How long a fault waits for anybody to answer: in a task without internet this is what every start is late by.
const REACH_TIME_LIMIT: Duration = Duration::from_secs(1);
/// Made by `scripts/prefixes` from the published one.
const SHIPPED: &str = include_str!("prefixes.txt");
/// Of the reason why the published list could not be had, at most this many characters are shown.
const SHOWN_REASON: usize = 120;

/// The region whose prefixes are used, and where its list comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// `eu-west-1`; empty where it is not known.
    pub name: String,
    /// `aws`, `aws-cn`, …; empty counts as `aws`.
    pub partition: String,
    /// The value of [`LIST_VARIABLE`].
    pub list_url: Option<String>,
    /// How the published list is reached.
    pub network: Network,
}

/// Why a service has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// There is no region to look in.
    #[error(
        "the source {0} stands for the addresses of a service in a region, and no region is known here: set AWS_REGION, \
         or name the service's endpoint or its CIDRs instead"
    )]
    NoRegion(Service),
    /// No list and no name has an address.
    #[error(
        "the source {service} has no addresses in {region}: {published}; the list that ships with taskfault (of {shipped}) \
         does not know that region, and {name} cannot be looked up; name the service's CIDRs instead"
    )]
    Nowhere {
        /// Which service.
        service: Service,
        /// Where it was looked for.
        region: String,
        /// What came of AWS's list.
        published: String,
        /// The date of the list that ships.
        shipped: String,
        /// The endpoint that was looked up.
        name: String,
    },
}

/// Puts addresses in the place of every service among `sources`: its prefixes, and the name of its endpoint in
/// this region where that leads elsewhere (a VPC endpoint with an address of its own) or where no list knows the
/// region. Takes at most a few seconds, and none where no service is named or everything is meant.
///
/// # Errors
/// [`PrefixError`]
pub async fn expand(sources: &mut Vec<Source>, region: &Region) -> Result<(), PrefixError> {
    let service = sources.iter().find_map(|source| match source {
        Source::Service(service) => Some(*service),
        _ => None,
    });
    let Some(service) = service.filter(|_| !sources.contains(&Source::All)) else { return Ok(()) };
    if region.name.is_empty() {
        return Err(PrefixError::NoRegion(service));
    }
    let now = async |source: &Source| {
        let Source::Service(service) = source else { return None };
        let name = endpoint_name(*service, region);
        let addresses = look_up(name.clone()).await;
        Some((*service, name, addresses))
    };
    // All at once, so that what cannot be reached is waited for once.
    let (published, services) = tokio::join!(published(region), join_all(sources.iter().map(now)));
    let today = OffsetDateTime::now_utc().date();
    let mut expanded = Vec::with_capacity(sources.len() + 2);
    for (source, service) in sources.iter().zip(services) {
        match service {
            Some((service, name, addresses)) => {
                expanded.extend(addresses_of(service, region, &published, today, name, &addresses)?);
            }
            None => expanded.push(source.clone()),
        }
    }
    *sources = expanded;
    Ok(())
}

/// What stands for `service`; `endpoint` are the addresses that the name of its endpoint has now.
fn addresses_of(
    service: Service,
    region: &Region,
    published: &Result<List, String>,
    today: time::Date,
    name: String,
    endpoint: &[IpAddr],
) -> Result<Vec<Source>, PrefixError> {
    let shipped = shipped();
    let from_published = published.as_ref().ok().and_then(|list| list.prefixes(service, &region.name));
    let found = match (from_published, published) {
        (Some(nets), Ok(list)) => Some((nets, format!("AWS's list of {}", list.age(today)))),
        _ => shipped.prefixes(service, &region.name).map(|nets| {
            let why = why_not(published, &region.name);
            (nets, format!("the list of {} that ships with taskfault; {why}", shipped.age(today)))
        }),
    };
    let Some((nets, origin)) = found else {
        if endpoint.is_empty() {
            return Err(PrefixError::Nowhere {
                service,
                region: region.name.clone(),
                published: why_not(published, &region.name),
                shipped: shipped.date().to_owned(),
                name,
            });
        }
        return Ok(vec![Source::Name(name)]);
    };
    let inside = |address: &IpAddr| nets.iter().any(|net| net.covers(*address));
    let elsewhere = endpoint.iter().any(|address| !inside(address));
    let prefixes = Prefixes { service, origin: format!("of {}, {origin}", region.name), nets };
    let named = elsewhere.then_some(Source::Name(name));
    Ok(std::iter::once(Source::Prefixes(prefixes)).chain(named).collect())
}

/// Why the published list was not the one.
fn why_not(published: &Result<List, String>, region: &str) -> String {
    match published {
        Ok(list) => format!("AWS's list of {} does not know {region}", list.date()),
        Err(reason) => {
            let short: String = reason.chars().take(SHOWN_REASON).collect();
            format!("AWS's list could not be had: {short}")
        }
    }
}

/// The host that the SDKs speak to. Buckets have names below it, which lead to the same addresses.
fn endpoint_name(service: Service, region: &Region) -> String {
    let label = match service {
        Service::DynamoDb => "dynamodb",
        Service::S3 => "s3",
    };
    let partition = if region.partition.is_empty() { "aws" } else { &region.partition };
    // Of a partition that is not known nothing can be looked up, and what is said shows where that would be.
    let suffix = Partition::find(partition).map_or(partition, |partition| partition.dns_suffix);
    format!("{label}.{}.{suffix}", region.name)
}

/// None if there is no answer in time, too.
async fn look_up(name: String) -> Vec<IpAddr> {
    let found = tokio::time::timeout(REACH_TIME_LIMIT, tokio::net::lookup_host((name, 0))).await;
    found.ok().and_then(Result::ok).map(|all| all.map(|one| one.ip()).collect()).unwrap_or_default()
}

/// A list of prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    /// `2026-08-22-21-17-05`, UTC.
    created: String,
    entries: Vec<(Service, String, Net)>,
}

impl List {
    fn prefixes(&self, service: Service, region: &str) -> Option<Vec<Net>> {
        let ours = self.entries.iter().filter(|(of, place, _)| *of == service && place == region);
        let nets: Vec<Net> = ours.map(|(_, _, net)| *net).collect();
        (!nets.is_empty()).then_some(nets)
    }

    /// The day it was made.
    fn date(&self) -> &str {
        self.created.get(..10).unwrap_or(&self.created)
    }

    /// `2026-08-22, 93 days old`
    fn age(&self, today: time::Date) -> String {
        let day = format_description!("[year]-[month]-[day]");
        match time::Date::parse(self.date(), &day) {
            // A list of tomorrow is one of today where a clock is wrong.
            Ok(made) => match (today - made).whole_days().max(0) {
                1 => format!("{}, 1 day old", self.date()),
                days => format!("{}, {days} days old", self.date()),
            },
            Err(_) => format!("{:?}", self.date()),
        }
    }
}

fn known(service: &str) -> Option<Service> {
    match service {
        "DYNAMODB" => Some(Service::DynamoDb),
        "S3" => Some(Service::S3),
        _ => None,
    }
}

/// The list in the program. A test reads all of it.
fn shipped() -> List {
    let mut lines = SHIPPED.lines().filter(|line| !line.starts_with('#'));
    let created = lines.next().and_then(|line| line.strip_prefix("created ")).unwrap_or_default().to_owned();
    let entries = lines.flat_map(|line| {
        let mut words = line.split(' ');
        let (service, region) = (words.next().and_then(known), words.next().unwrap_or_default());
        words.filter_map(move |word| Some((service?, region.to_owned(), Net::parse(word)?)))
    });
    List { entries: entries.collect(), created }
}

#[derive(Deserialize)]
struct Published<'a> {
    #[serde(borrow, rename = "createDate")]
    created: Cow<'a, str>,
    #[serde(borrow)]
    prefixes: Vec<Entry<'a>>,
    #[serde(borrow)]
    ipv6_prefixes: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, alias = "ipv6_prefix")]
    ip_prefix: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    service: Cow<'a, str>,
}

fn parse(text: &[u8]) -> Result<List, String> {
    let list: Published =
        serde_json::from_slice(text).map_err(|error| format!("it makes no sense: {error}"))?;
    let mut entries = Vec::new();
    for entry in list.prefixes.iter().chain(&list.ipv6_prefixes) {
        let Some(service) = known(&entry.service) else { continue };
        let net = Net::parse(&entry.ip_prefix).filter(|net| !net.is_everything());
        let net = net.ok_or_else(|| format!("it names {:?} as a prefix of {service}", entry.ip_prefix))?;
        entries.push((service, entry.region.clone().into_owned(), net));
    }
    if entries.is_empty() {
        return Err("it has no prefix of S3 and none of DynamoDB".to_owned());
    }
    Ok(List { created: list.created.chars().take(40).collect(), entries })
}

/// The published list, or why it could not be had.
async fn published(region: &Region) -> Result<List, String> {
    let url = region.list_url.as_deref().unwrap_or(LIST_URL);
    let uri: Uri = url
        .parse()
        .ok()
        .filter(|uri: &Uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
        .ok_or_else(|| format!("{url:?} is not an http:// or https:// URL ({LIST_VARIABLE})"))?;
    // Through a proxy, whose answer takes its time, that is not asked.
    if region.network.proxies.of(&uri).is_none() {
        reach(&uri).await?;
    }
    let client = Client::new(&region.network).map_err(|error| error.to_string())?;
    let request = Request::get(&uri)
        .header(header::HOST, host_of(&uri))
        .header(header::USER_AGENT, concat!("taskfault/", env!("CARGO_PKG_VERSION")))
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    let host = host_of(&uri);
    let answer = client.send(request, LIST_TIME_LIMIT).await.map_err(|reason| format!("{host}: {reason}"))?;
    match answer.status() {
        StatusCode::OK => parse(answer.body()).map_err(|reason| format!("{host}: {reason}")),
        other => Err(format!("{host} answers {other}")),
    }
}

/// Whether anybody answers at all, which no client of HTTP asks for by itself.
async fn reach(uri: &Uri) -> Result<(), String> {
    let host = uri.host().unwrap_or_default();
    let address = (host.trim_matches(['[', ']']), port_of(uri));
    match tokio::time::timeout(REACH_TIME_LIMIT, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("{}: {error}", host_of(uri))),
        Err(_) => Err(format!("{}: no answer within {} s", host_of(uri), REACH_TIME_LIMIT.as_secs())),
    }
}

/// Reads bytes as the published list of prefixes.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = parse(bytes);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use faults::network_source::parse_sources;

    const LIST: &str = r#"{"syncToken": "1795262400", "createDate": "2026-11-21-12-00-00", "prefixes": [
        {"ip_prefix": "192.0.2.0/28", "region": "eu-west-1", "service": "S3", "network_border_group": "eu-west-1"},
        {"ip_prefix": "192.0.2.16/28", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "x"},
        {"ip_prefix": "192.0.2.32/28", "region": "eu-west-2", "service": "S3", "network_border_group": "x"},
        {"ip_prefix": "192.0.2.48/28", "region": "eu-west-1", "service": "DYNAMODB", "network_border_group": "x"}],
        "ipv6_prefixes": [
        {"ipv6_prefix": "2001:db8::/40", "region": "eu-west-1", "service": "S3", "network_border_group": "x"}]}"#;

    /// Plays the publisher: answers one request.
    fn publisher(status: &'static str, body: &'static str) -> Region {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ip-ranges.json", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            // The first only looks whether anybody answers.
            let _ = listener.accept().unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        Region { list_url: Some(url), ..nowhere("eu-west-1") }
    }

    /// A region whose list cannot be had.
    fn nowhere(name: &str) -> Region {
        // A port that nobody listens on; the partition's names lead nowhere outside of it.
        let list_url = Some("http://127.0.0.1:1/".to_owned());
        Region { name: name.into(), partition: "aws-iso".into(), list_url, network: Network::default() }
    }

    fn expanded(list: &str, region: &Region) -> Result<Vec<Source>, PrefixError> {
        let mut sources = parse_sources(list).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(expand(&mut sources, region)).map(|()| sources)
    }

    fn nets(words: &[&str]) -> Vec<Net> {
        words.iter().map(|word| Net::parse(word).unwrap()).collect()
    }

    #[test]
    fn the_published_list_gives_the_prefixes_of_the_region_and_says_so() {
        let sources = expanded("10.0.0.1,S3,db.invalid", &publisher("200 OK", LIST)).unwrap();
        let [first, Source::Prefixes(s3), last] = &sources[..] else { panic!("{sources:?}") };
        assert_eq!((first.to_string().as_str(), last.to_string().as_str()), ("10.0.0.1", "db.invalid"));
        assert_eq!(s3.nets, nets(&["192.0.2.0/28", "2001:db8::/40"]));
        let words = sources[1].to_string();
        assert!(words.starts_with("S3 (2 prefixes of eu-west-1, AWS's list of 2026-11-21, "), "{words}");
        let both = expanded("DYNAMODB,S3", &publisher("200 OK", LIST)).unwrap();
        assert!(both[0].to_string().starts_with("DYNAMODB (1 prefix of eu-west-1"), "{}", both[0]);
    }

    #[test]
    fn without_it_the_shipped_list_serves_and_says_why_and_how_old() {
        for (region, why) in [
            (nowhere("eu-west-1"), "could not be had: 127.0.0.1:1: "),
            (publisher("503 Busy", ""), "answers 503"),
            (publisher("200 OK", "{}"), "makes no sense"),
            (
                publisher("200 OK", r#"{"createDate":"x","prefixes":[],"ipv6_prefixes":[]}"#),
                "has no prefix of S3",
            ),
            (
                publisher(
                    "200 OK",
                    r#"{"createDate":"2026-11-21","prefixes":[{"ip_prefix":"0.0.0.0/0","region":"eu-west-1","service":"S3"}],
                    "ipv6_prefixes":[]}"#,
                ),
                "names \"0.0.0.0/0\" as a prefix of S3",
            ),
            (Region { list_url: Some("ftp://x".into()), ..nowhere("eu-west-1") }, "is not an http:// or"),
        ] {
            let sources = expanded("S3", &region).unwrap();
            let words = sources[0].to_string();
            assert!(words.contains("the list of 20") && words.contains("days old that ships"), "{words}");
            assert!(words.contains(why) && words.len() < 300, "{words}");
            let Source::Prefixes(s3) = &sources[0] else { panic!("{sources:?}") };
            // One that has been S3's in Ireland since 2006.
            assert!(s3.nets.iter().any(|net| net.covers("52.218.0.1".parse().unwrap())), "{:?}", s3.nets);
        }
    }

    #[test]
    fn a_region_that_no_list_knows_needs_the_name_of_its_endpoint() {
        let error = expanded("S3", &nowhere("xx-new-9")).unwrap_err().to_string();
        assert!(error.contains("S3 has no addresses in xx-new-9: AWS's list could not be had"), "{error}");
        assert!(error.contains("s3.xx-new-9.c2s.ic.gov cannot be looked up"), "{error}");
        let error = expanded("DYNAMODB", &Region { name: String::new(), ..nowhere("") }).unwrap_err();
        assert_eq!(error, PrefixError::NoRegion(Service::DynamoDb));
        let of = |endpoint: &[IpAddr], region: &str| {
            let day = time::Date::from_calendar_date(2026, time::Month::November, 23).unwrap();
            let published = parse(LIST.as_bytes());
            let region = nowhere(region);
            addresses_of(Service::S3, &region, &published, day, "s3.here".into(), endpoint).unwrap()
        };
        let name = Source::Name("s3.here".into());
        let private: IpAddr = "10.0.0.9".parse().unwrap();
        assert_eq!(of(&[private], "xx-new-9"), std::slice::from_ref(&name));
        // An interface endpoint in the VPC counts beside the prefixes, an address within them does not.
        assert_eq!(of(&[private], "eu-west-1")[1..], [name]);
        let inside = of(&["192.0.2.3".parse().unwrap()], "eu-west-1");
        assert_eq!(inside.len(), 1);
        assert!(inside[0].to_string().ends_with("AWS's list of 2026-11-21, 2 days old)"), "{}", inside[0]);
    }

    #[test]
    fn a_list_that_nobody_answers_for_holds_a_fault_back_for_a_second_at_most() {
        // A socket whose queue is full answers no connection, as a firewall that drops.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting: Vec<_> = (0..4096)
            .map_while(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok())
            .collect();
        let silent = Region { list_url: Some(format!("http://{address}/")), ..nowhere("eu-west-1") };
        let began = std::time::Instant::now();
        let sources = expanded("S3,DYNAMODB", &silent).unwrap();
        assert!(began.elapsed() < Duration::from_millis(2500), "{:?}", began.elapsed());
        assert!(sources[0].to_string().contains("no answer within 1 s"), "{}", sources[0]);
        drop(waiting);
    }

    #[test]
    fn where_everything_is_meant_nothing_is_asked() {
        let mut region = nowhere("");
        region.list_url = Some("not asked".into());
        let sources = expanded("S3,ALL", &region).unwrap();
        assert_eq!(sources, parse_sources("S3,ALL").unwrap());
        assert_eq!(expanded("10.0.0.1", &region), Ok(parse_sources("10.0.0.1").unwrap()));
    }

    #[test]
    fn the_shipped_list_is_whole() {
        let list = shipped();
        assert!(list.created.starts_with("20") && list.date().len() == 10, "{}", list.created);
        let words: usize = SHIPPED.lines().skip(2).map(|line| line.split(' ').count() - 2).sum();
        assert_eq!(list.entries.len(), words, "every prefix can be read");
        for region in ["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1", "cn-north-1"] {
            for service in [Service::S3, Service::DynamoDb] {
                assert!(list.prefixes(service, region).is_some(), "{service} {region}");
            }
        }
        assert!(list.entries.iter().all(|(_, _, net)| !net.is_everything()));
    }
}
