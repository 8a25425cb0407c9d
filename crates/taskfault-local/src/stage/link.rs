//! Interfaces, addresses and routes, through the kernel's own interface. No `ip` program is needed.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::StageError;

/// A netlink socket in the network namespace in which it was opened. It keeps to that namespace.
#[derive(Debug)]
#[must_use = "dropping the socket ends its task"]
pub(super) struct Netlink {
    handle: rtnetlink::Handle,
    connection: tokio::task::JoinHandle<()>,
}

/// A veth pair between the stage and a task. It disappears with the task's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The end on the stage, a port of the bridge.
    pub name: String,
    /// Interface index of that end.
    pub index: u32,
}

impl Netlink {
    /// Opens a socket in this thread's network namespace.
    pub(super) fn open() -> Result<Netlink, StageError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(StageError::system("opening a netlink socket"))?;
        Ok(Netlink { handle, connection: tokio::spawn(connection) })
    }

    /// `lo` up, with its addresses.
    pub(super) async fn raise_loopback(&self) -> Result<(), StageError> {
        self.raise("lo").await
    }

    /// Brings an interface up.
    pub(super) async fn raise(&self, name: &str) -> Result<(), StageError> {
        let change = LinkUnspec::new_with_name(name).up().build();
        self.handle.link().set(change).execute().await.map_err(failed(format!("bringing {name} up")))
    }

    /// A bridge, up; its index. Without a hardware address of its own it would take the lowest of its ports', so
    /// that it changes whenever a task comes or goes, and others wait for theirs to be asked for again.
    pub(super) async fn add_bridge(&self, name: &str, hardware: [u8; 6]) -> Result<u32, StageError> {
        let bridge = LinkBridge::new(name).address(hardware.to_vec()).up().build();
        self.handle
            .link()
            .add(bridge)
            .execute()
            .await
            .map_err(failed(format!("making the bridge {name}")))?;
        self.index(name).await
    }

    /// An address with its prefix on an interface.
    pub(super) async fn add_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        bits: u8,
    ) -> Result<(), StageError> {
        let request = self.handle.address().add(index, address.into(), bits);
        request.execute().await.map_err(failed(format!("giving an interface the address {address}/{bits}")))
    }

    /// The default route.
    pub(super) async fn add_default_route(&self, gateway: Ipv4Addr) -> Result<(), StageError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        let request = self.handle.route().add(route);
        request.execute().await.map_err(failed(format!("setting the default route to {gateway}")))
    }

    /// A veth pair: `name` here as a port of `bridge`, `eth0` in the network namespace of process `pid`.
    pub(super) async fn add_link(&self, name: &str, bridge: u32, pid: u32) -> Result<Link, StageError> {
        let inner = LinkMessageBuilder::<LinkUnspec>::new().name("eth0").setns_by_pid(pid).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new(name, "eth0")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inner)))
            .controller(bridge)
            .up()
            .build();
        self.handle
            .link()
            .add(pair)
            .execute()
            .await
            .map_err(failed(format!("making the veth pair {name}")))?;
        Ok(Link { name: name.to_owned(), index: self.index(name).await? })
    }

    /// The index of an interface in this namespace.
    pub(super) async fn index(&self, name: &str) -> Result<u32, StageError> {
        let found: Option<Result<LinkMessage, _>> =
            self.handle.link().get().match_name(name.to_owned()).execute().boxed().next().await;
        match found {
            Some(link) => Ok(link.map_err(failed(format!("looking for the interface {name}")))?.header.index),
            None => Err(failed(format!("looking for the interface {name}"))(rtnetlink::Error::RequestFailed)),
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn failed(what: String) -> impl FnOnce(rtnetlink::Error) -> StageError {
    move |source| StageError::Netlink { what, source }
}
