//! Chains, and the hooks where the kernel calls them.

use netlink_packet_netfilter::NetfilterMessage;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DevHookNumber, Hook as HookAttribute, HookNumber, InetHookNumber,
    NfTablesMessage,
};
use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE};

use super::table::Table;
use crate::net::kernel_part::KernelPart;
use crate::net::netlink::{Purpose, Request};
use crate::net::uapi::nf_tables::NFTA_DEVICE_NAME;

/// Where a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// For packets of this machine's sockets, before they are routed.
    Output,
    /// For packets to this machine's sockets, after they were routed.
    Input,
    /// For all that comes in, before it is routed.
    Prerouting,
    /// For all that comes in by a device, before anything else. Only in tables of the family netdev.
    Ingress,
    /// For all that leaves by a device, after everything else. Only in tables of the family netdev.
    Egress,
}

impl Hook {
    fn number(self) -> HookNumber {
        match self {
            Hook::Output => InetHookNumber::LocalOut.into(),
            Hook::Input => InetHookNumber::LocalIn.into(),
            Hook::Prerouting => InetHookNumber::PreRouting.into(),
            Hook::Ingress => DevHookNumber::Ingress.into(),
            Hook::Egress => DevHookNumber::Egress.into(),
        }
    }

    /// Whether its chains are on devices, rather than on the whole namespace.
    pub fn is_on_devices(self) -> bool {
        matches!(self, Hook::Ingress | Hook::Egress)
    }

    fn name(self) -> &'static str {
        match self {
            Hook::Output => "output",
            Hook::Input => "input",
            Hook::Prerouting => "prerouting",
            Hook::Ingress => "ingress",
            Hook::Egress => "egress",
        }
    }
}

/// The kind of chains that only the first packet of a connection passes, and that may send the connection elsewhere.
pub const NAT: &str = "nat";

/// Where, when and how a base chain is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base<'a> {
    /// "filter", "route" or [`NAT`].
    pub kind: &'a str,
    /// Where.
    pub hook: Hook,
    /// Chains of one hook are called by priority, the lowest first.
    pub priority: i32,
    /// Names of the devices, where the hook is on devices.
    pub devices: Vec<&'a str>,
}

impl Table {
    /// Adds a chain that is called only by other chains.
    pub fn add_chain(&self, name: &str) -> Request<NetfilterMessage> {
        self.new_chain(format!("add the chain {name}").into(), name, Vec::new())
    }

    /// Adds a chain that is called at a hook and accepts what none of its rules decides.
    pub fn add_base_chain(&self, name: &str, base: &Base<'_>) -> Request<NetfilterMessage> {
        let text = format!("add the chain {name} to the {} hook", base.hook.name());
        let purpose = match base.hook {
            Hook::Egress => Purpose::needing(KernelPart::EgressHook, text),
            _ if base.kind == NAT => Purpose::needing(KernelPart::Nat, text),
            _ => text.into(),
        };
        let attributes = vec![
            ChainAttribute::Type(base.kind.to_owned()),
            ChainAttribute::Policy(libc::NF_ACCEPT as u32),
            ChainAttribute::Hook(hook(base)),
        ];
        self.new_chain(purpose, name, attributes)
    }

    /// Removes a chain, which must have no rules.
    pub fn delete_chain(&self, purpose: Purpose, name: &str) -> Request<NetfilterMessage> {
        let message = ChainMessage { attributes: self.chain(name) };
        self.request(purpose, 0, NfTablesMessage::DeleteChain(message))
    }

    fn new_chain(
        &self,
        purpose: Purpose,
        name: &str,
        more: Vec<ChainAttribute>,
    ) -> Request<NetfilterMessage> {
        let mut attributes = self.chain(name);
        attributes.extend(more);
        self.request(purpose, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }))
    }

    fn chain(&self, name: &str) -> Vec<ChainAttribute> {
        vec![ChainAttribute::Table(self.name.clone()), ChainAttribute::Name(name.to_owned())]
    }
}

fn hook(base: &Base<'_>) -> Vec<HookAttribute> {
    let number = HookAttribute::Number(base.hook.number());
    let mut hook = vec![number, HookAttribute::Priority(base.priority.cast_unsigned())];
    if base.hook.is_on_devices() {
        let device = |name: &&str| DefaultNla::new(NFTA_DEVICE_NAME, format!("{name}\0").into_bytes());
        hook.push(HookAttribute::NetDevices(base.devices.iter().map(device).collect()));
    }
    hook
}
