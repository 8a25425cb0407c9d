//! A stream of small packets to the far side and back: what a fault does to it, and from when on.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub sent: Instant,
    /// None until it comes back.
    pub round_trip: Option<Duration>,
}

/// A packet every so often, until dropped.
pub(crate) struct Probe {
    packets: Arc<Mutex<Vec<Packet>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// A packet that takes longer is touched by the fault.
    late: Duration,
    /// How many packets in a row say that a fault is there, or gone: more where the machine stumbles.
    in_a_row: usize,
}

/// An effect that does not come, or stay, for so long does not.
pub(crate) const NEVER: Duration = Duration::from_secs(1);

impl Probe {
    pub(crate) fn start(local: SocketAddr, remote: SocketAddr, gap: Duration, late: Duration) -> Probe {
        let socket = Arc::new(UdpSocket::bind(local).unwrap());
        roomy(&socket);
        // Packets of an earlier probe may still come back to this port.
        let life = uuid::Uuid::new_v4().as_u64_pair().0;
        socket.connect(remote).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let packets = Arc::new(Mutex::new(Vec::<Packet>::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let sender = {
            let (socket, packets, stop) = (socket.clone(), packets.clone(), stop.clone());
            thread::spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let number = {
                        let mut packets = packets.lock().unwrap();
                        packets.push(Packet { sent: Instant::now(), round_trip: None });
                        packets.len() as u64 - 1
                    };
                    // A rule that refuses the packet makes this an error: it is lost then.
                    let _ = socket.send(&[number.to_le_bytes(), life.to_le_bytes()].concat());
                    next += gap;
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        };
        let receiver = {
            let (packets, stop) = (packets.clone(), stop.clone());
            thread::spawn(move || {
                let mut room = [0; 16];
                while !stop.load(Ordering::Relaxed) {
                    let heard = socket.recv(&mut room);
                    let now = Instant::now();
                    let [number, of] =
                        [0, 8].map(|at| u64::from_le_bytes(room[at..at + 8].try_into().unwrap()));
                    if heard.is_ok() && of == life {
                        let mut packets = packets.lock().unwrap();
                        let packet = &mut packets[usize::try_from(number).unwrap()];
                        packet.round_trip = Some(now - packet.sent);
                    }
                }
            })
        };
        Probe { packets, stop, threads: vec![sender, receiver], late, in_a_row: 3 }
    }

    /// The same, sure of itself after so many packets in a row.
    pub(crate) fn sure_after(mut self, packets: usize) -> Probe {
        self.in_a_row = packets;
        self
    }

    /// Time from `since` to the first of some packets in a row that are touched by the fault, or are not. The
    /// moment of a packet is the one at which it was sent. None if that does not come.
    pub(crate) fn first(&self, since: Instant, touched: bool, limit: Duration) -> Option<Duration> {
        loop {
            let now = Instant::now();
            {
                let packets = self.packets.lock().unwrap();
                let from = packets.partition_point(|packet| packet.sent < since);
                // Whether it is late is known only after that time.
                let known = packets[from..].iter().map_while(|packet| self.is_touched(packet, now));
                let known: Vec<bool> = known.collect();
                let place =
                    known.windows(self.in_a_row).position(|row| row.iter().all(|one| *one == touched));
                if let Some(place) = place {
                    return Some(packets[from + place].sent - since);
                }
            }
            if now > since + limit + self.late {
                return None;
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn is_touched(&self, packet: &Packet, now: Instant) -> Option<bool> {
        match packet.round_trip {
            Some(time) => Some(time > self.late),
            None => (now - packet.sent > self.late).then_some(true),
        }
    }

    /// The packets sent from `since` on for so long; those that have had `patience` to come back.
    pub(crate) fn between(&self, since: Instant, until: Instant) -> Vec<Packet> {
        let packets = self.packets.lock().unwrap();
        packets.iter().filter(|packet| packet.sent >= since && packet.sent < until).copied().collect()
    }
}

/// Gives a socket a large receive buffer, so that a reader that is late loses nothing.
pub(crate) fn roomy(socket: &UdpSocket) {
    // Only root may go beyond the machine's limit; others get that.
    let bytes = 16 * 1024 * 1024;
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &bytes);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
