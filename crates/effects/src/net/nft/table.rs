//! Tables.

use netlink_packet_netfilter::nftables::{NfTablesMessage, TableAttribute, TableFlags, TableMessage};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};

use crate::net::kernel_part::KernelPart;
use crate::net::netlink::{Purpose, Request};

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
