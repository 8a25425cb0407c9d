//! Many messages of nf_tables as one change (`linux/netfilter/nfnetlink.h`).

use std::ops::RangeInclusive;

use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily, NetfilterSubsystem};
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{NLM_F_ACK, NLMSG_ERROR};

use super::{Netlink, NetlinkError, Purpose, ROOM, Request, acknowledgement, answers};

impl Netlink<NetfilterMessage> {
    /// Sends the requests as one change: all of them are done, or none.
    ///
    /// # Errors
    /// The first request that was refused. Nothing has changed.
    pub fn change(&mut self, requests: Vec<Request<NetfilterMessage>>) -> Result<(), NetlinkError> {
        let purposes: Vec<Purpose> = requests.iter().map(|request| request.purpose.clone()).collect();
        let count = requests.len();
        let (begin, mut bytes) = (self.next(), Vec::new());
        delimiter("begin a change", ControlMessage::BatchBegin).encode(0, begin, &mut bytes);
        let first = self.sequence.wrapping_add(1);
        for (number, request) in (1..).zip(requests) {
            // One answer is enough, and thousands would not fit the socket. It comes after the commit.
            let flags = if number == count { NLM_F_ACK } else { 0 };
            request.encode(flags, self.next(), &mut bytes);
        }
        let last = self.sequence;
        delimiter("end a change", ControlMessage::BatchEnd).encode(0, self.next(), &mut bytes);
        self.make_room(bytes.len());
        self.send(purposes.first().unwrap_or(&"change nothing".into()), &bytes)?;
        self.outcome_of_change(begin, first..=last, &purposes)
    }

    /// A change must fit the socket's buffer as a whole; the limit of the machine does not bind NET_ADMIN.
    fn make_room(&self, length: usize) {
        // If it cannot be had, sending says so.
        let _ = setsockopt(&self.socket, sockopt::SndBufForce, &length.max(ROOM));
    }

    /// Reads the answers to a change: one for its last message, one for each that was refused, one for the
    /// first of all if the change as a whole was.
    fn outcome_of_change(
        &self,
        begin: u32,
        ours: RangeInclusive<u32>,
        purposes: &[Purpose],
    ) -> Result<(), NetlinkError> {
        let change = Purpose::new("change nothing");
        let purpose = |sequence: u32| {
            let number = sequence.saturating_sub(*ours.start()) as usize;
            purposes.get(number).or(purposes.first()).unwrap_or(&change)
        };
        let (mut refused, mut done) = (None, false);
        // Everything has been queued by now; the first empty read is the end.
        loop {
            let datagram = match self.receive(purpose(*ours.end())) {
                Ok(datagram) => datagram,
                Err(_) if done || refused.is_some() => break,
                Err(error) => return Err(error),
            };
            for answer in answers(&datagram) {
                let sequence = answer.sequence_number();
                let counts = sequence == begin || ours.contains(&sequence);
                if answer.message_type() != NLMSG_ERROR || !counts {
                    continue;
                }
                if let Err(error) = acknowledgement(purpose(sequence), &answer) {
                    refused.get_or_insert(error);
                }
                done |= sequence == *ours.end();
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

/// The first message of a change, or the last.
fn delimiter(purpose: &str, message: ControlMessage) -> Request<NetfilterMessage> {
    let tables = u16::from(u8::from(NetfilterSubsystem::NfTables));
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, tables);
    Request::new(purpose, 0, NetfilterMessage::new(header, message))
}
