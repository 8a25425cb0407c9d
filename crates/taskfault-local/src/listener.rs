//! Who listens on a port of this machine, for an error that says so.

use std::fs;
use std::path::Path;

/// Sockets that listen have this state in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTENS: &str = "0A";

/// `process 4711 (taskfault-local up web.json)`; None if nobody is found, as with processes of other users.
pub fn of_port(port: u16) -> Option<String> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| fs::read_to_string(path).ok());
    let sockets: Vec<String> =
        tables.flat_map(|table| inodes(&table, port)).map(|inode| format!("socket:[{inode}]")).collect();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        if holds(&entry.path(), &sockets) {
            return Some(format!("process {pid} ({})", command_line(&entry.path())));
        }
    }
    None
}

/// The inodes of the sockets that listen on a port, from a table of the kernel: the second column is the local address,
/// the fourth the state, the tenth the inode.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let ending = format!(":{port:04X}");
    let listens = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let found = columns.get(1)?.ends_with(&ending) && *columns.get(3)? == LISTENS;
        found.then(|| columns.get(9).map(|inode| (*inode).to_owned()))?
    };
    table.lines().skip(1).filter_map(listens).collect()
}

fn holds(process: &Path, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|it| fs::read_link(it.path()).ok())
        .any(|to| to.to_str().is_some_and(|to| sockets.iter().any(|socket| socket == to)))
}

/// As it was started, without control characters and not too long.
fn command_line(process: &Path) -> String {
    const MOST: usize = 100;
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ");
    words.chars().filter(|letter| !letter.is_control()).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = of_port(port).unwrap();
        assert!(found.starts_with(&format!("process {} (", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(of_port(port), None);
    }

    #[test]
    fn only_who_listens_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:11D6 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
             1: 0100007F:11D6 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n\
             2: 0100007F:11D7 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0\n";
        assert_eq!(inodes(table, 4566), ["4711"]);
    }
}
