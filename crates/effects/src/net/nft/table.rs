//! Tables.

use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute, TableFlags, TableMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NLM_F_CREATE, NLM_F_EXCL, NetlinkDeserializable, NetlinkHeader, NlasIterator,
    parse_string,
};

use crate::net::kernel_part::KernelPart;
use crate::net::netlink::{NetlinkError, Purpose, Request, Tables};
use crate::net::uapi::nf_tables::{NFTA_TABLE_NAME, NFTA_TABLE_OWNER};

/// Who owns a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everybody may change it.
    Nobody,
    /// The netlink socket of this number.
    Socket(u32),
}

/// A table as a dump describes it.
#[derive(Debug, Default)]
struct Listed {
    family: u8,
    name: String,
    owner: Option<u32>,
}

impl NetlinkDeserializable for Listed {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Listed, DecodeError> {
        let header = NetfilterHeader::parse(payload)?;
        let mut listed = Listed { family: header.family.into(), ..Listed::default() };
        for attribute in NlasIterator::new(payload.get(header.buffer_len()..).unwrap_or_default()) {
            let attribute = attribute?;
            match attribute.kind() {
                NFTA_TABLE_NAME => listed.name = parse_string(attribute.value())?,
                NFTA_TABLE_OWNER => listed.owner = attribute.value().try_into().map(u32::from_be_bytes).ok(),
                _ => {}
            }
        }
        Ok(listed)
    }
}

/// A table, by what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which packets its chains see.
    pub family: NetfilterProtoFamily,
    /// Unique within its family.
    pub name: String,
}

impl Table {
    /// Makes the table, for as long as the socket that sends this is open (`NFT_TABLE_F_OWNER`).
    pub fn create_owned(&self) -> Request<NetfilterMessage> {
        let text = format!("create the nf_tables table {}", self.name);
        let attributes = vec![self.name(), TableAttribute::Flags(TableFlags::Owner)];
        self.request(
            Purpose::needing(KernelPart::OwnedTables, text),
            NLM_F_CREATE | NLM_F_EXCL,
            NfTablesMessage::NewTable(TableMessage { attributes }),
        )
    }

    /// Removes the table with all that is in it.
    pub fn delete(&self, purpose: Purpose) -> Request<NetfilterMessage> {
        let message = TableMessage { attributes: vec![self.name()] };
        self.request(purpose, 0, NfTablesMessage::DeleteTable(message))
    }

    /// Who owns the table; None if there is no such table.
    ///
    /// # Errors
    /// The kernel refused the list.
    pub fn owner(&self, tables: &mut Tables) -> Result<Option<Owner>, NetlinkError> {
        let question = NfTablesMessage::GetTable(TableMessage { attributes: Vec::new() });
        let all: Vec<Listed> = tables.dump(self.request("list the nf_tables tables", 0, question))?;
        let this =
            all.into_iter().find(|table| table.family == u8::from(self.family) && table.name == self.name);
        Ok(this.map(|table| table.owner.map_or(Owner::Nobody, Owner::Socket)))
    }

    fn name(&self) -> TableAttribute {
        TableAttribute::Name(self.name.clone())
    }

    /// A request about the table, or about something in it.
    pub(super) fn request(
        &self,
        purpose: impl Into<Purpose>,
        flags: u16,
        message: NfTablesMessage,
    ) -> Request<NetfilterMessage> {
        // NFNETLINK_V0, and no resource.
        let header = NetfilterHeader::new(self.family, 0, 0);
        Request::new(purpose, flags, NetfilterMessage::new(header, message))
    }
}

/// Reads bytes as a table that the kernel lists.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = Listed::deserialize(&NetlinkHeader::default(), bytes);
}
