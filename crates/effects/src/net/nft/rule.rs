//! Rules.

use netlink_packet_netfilter::nftables::{
    ExpressionAttribute, Expressions, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NLM_F_APPEND, NLM_F_CREATE, NetlinkDeserializable, NetlinkHeader, NlasIterator,
    ParseableParametrized, parse_string,
};

use super::expression::Counter;
use super::table::Table;
use crate::net::netlink::{NetlinkError, Purpose, Request, Tables};
use crate::net::uapi::nf_tables::{NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS};

impl Table {
    /// Adds a rule of these expressions to the end of a chain.
    pub fn add_rule(&self, chain: &str, expressions: &[Expressions]) -> Request<NetfilterMessage> {
        let mut attributes = self.rules(chain);
        let expressions = expressions.iter().cloned().map(ListAttribute::from).collect();
        attributes.push(RuleAttribute::Expressions(expressions));
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.request(format!("add a rule to the chain {chain}"), NLM_F_CREATE | NLM_F_APPEND, message)
    }

    /// Removes all rules of a chain.
    pub fn delete_rules(&self, purpose: Purpose, chain: &str) -> Request<NetfilterMessage> {
        let message = RuleMessage { attributes: self.rules(chain) };
        self.request(purpose, 0, NfTablesMessage::DeleteRule(message))
    }

    /// Packets that the counters of a chain's rules have counted.
    ///
    /// # Errors
    /// The kernel refused the question.
    pub fn counted(&self, tables: &mut Tables, purpose: Purpose, chain: &str) -> Result<u64, NetlinkError> {
        let message = NfTablesMessage::GetRule(RuleMessage { attributes: self.rules(chain) });
        let rules: Vec<Listed> = tables.dump(self.request(purpose, 0, message))?;
        let of_chain = rules.iter().filter(|rule| rule.chain == chain);
        Ok(of_chain.filter_map(|rule| rule.counter).map(|counter| counter.packets).sum())
    }

    fn rules(&self, chain: &str) -> Vec<RuleAttribute> {
        vec![RuleAttribute::Table(self.name.clone()), RuleAttribute::Chain(chain.to_owned())]
    }
}

/// A rule as a dump describes it. The crate's own reading of a rule formats all of its bytes for each of its
/// expressions, in case one of them cannot be read.
#[derive(Debug, Default)]
struct Listed {
    chain: String,
    counter: Option<Counter>,
}

impl NetlinkDeserializable for Listed {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Listed, DecodeError> {
        let header = NetfilterHeader::parse(payload)?;
        let mut listed = Listed::default();
        for attribute in NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default()) {
            let attribute = attribute?;
            match attribute.kind() {
                NFTA_RULE_CHAIN => listed.chain = parse_string(attribute.value())?,
                NFTA_RULE_EXPRESSIONS => listed.counter = counter(attribute.value()),
                _ => {}
            }
        }
        Ok(listed)
    }
}

/// The first counter in a list of expressions.
fn counter(list: &[u8]) -> Option<Counter> {
    let mut expressions = NlasIterator::new(list).map_while(Result::ok);
    expressions.find_map(|expression| {
        let mut attributes = NlasIterator::new(expression.value()).map_while(Result::ok);
        let name = ExpressionAttribute::parse_with_param(&attributes.next()?, None).ok()?;
        let name = match name {
            ExpressionAttribute::Name(name) if name == Counter::NAME => name,
            _ => return None,
        };
        match ExpressionAttribute::parse_with_param(&attributes.next()?, Some(name)).ok()? {
            ExpressionAttribute::Data(expression) => Counter::read(&expression),
            _ => None,
        }
    })
}

/// Reads bytes as a rule that the kernel lists.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Listed::deserialize(&NetlinkHeader::default(), bytes);
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::DefaultNla;

    use super::super::expression::{accept, put};
    use super::*;
    use crate::net::uapi::nf_tables::NFTA_COUNTER_PACKETS;

    /// What a dump says of a rule with these expressions.
    fn listed(expressions: &[Expressions]) -> Listed {
        let table = Table { family: 1.into(), name: "t".into() };
        let mut bytes = Vec::new();
        table.add_rule("c", expressions).encode(0, 0, &mut bytes);
        let header = NetlinkHeader::default();
        Listed::deserialize(&header, &bytes[header.buffer_len()..]).unwrap()
    }

    #[test]
    fn the_counter_of_a_rule_is_found_among_its_expressions() {
        let value = DefaultNla::new(NFTA_COUNTER_PACKETS, 7_u64.to_be_bytes().to_vec());
        let counter = Expressions::Other { expression_type: Counter::NAME.into(), attributes: vec![value] };
        let rule = listed(&[put(1.into(), &[1; 4]), counter, accept()]);
        assert_eq!((rule.chain.as_str(), rule.counter), ("c", Some(Counter { packets: 7 })));
        assert_eq!(listed(&[accept()]).counter, None);
    }
}
