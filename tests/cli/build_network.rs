//! What RUN reaches, and what it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use crate::disk::Disk;
use crate::fixture::{TINY, rootfs, with_tiny};
use crate::harness::Sandbox;

/// Tries to reach the host's loopback, as root who knows how: with the routes as they are, without those that keep
/// honest programs from trying, and by the loopback's own address. `$1` is the port.
const PROBE: &str = r"
ip() { busybox ip $*; }
timeout() { busybox timeout $*; }
try() { timeout 4 wget -q -O /got http://$1/ 2>&1 && echo REACHED $1; }
try 10.0.2.2:$1
ip route del unreachable 10.0.2.2 && echo the way is free
try 10.0.2.2:$1
try 10.0.2.3:$1
for card in /proc/sys/net/ipv4/conf/*; do echo 1 > $card/route_localnet; done
ip route del local 127.0.0.0/8 dev lo table local
ip route del local 127.0.0.1 dev lo table local
ip route add 127.0.0.1 via 10.0.2.2 && echo the loopback is outside
try 127.0.0.1:$1
true
";

fn listen(address: IpAddr) -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

/// The address of this host on its network.
fn own_address() -> IpAddr {
    // Nothing is sent.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).expect("this host has a network");
    socket.local_addr().unwrap().ip()
}

#[test]
fn the_loopback_of_the_host_is_out_of_reach() {
    let sandbox = with_tiny();
    sandbox.write("build/probe", PROBE);
    let (listener, port) = listen(Ipv4Addr::LOCALHOST.into());
    listener.set_nonblocking(true).unwrap();
    let imagefile = format!("FROM tiny\nCOPY probe /\nRUN sh /probe {port}\n");
    let outcome = sandbox.build("probed", &imagefile, &[]).exits(0);
    for tried in ["the way is free", "the loopback is outside"] {
        assert!(outcome.stdout.contains(tried), "{outcome:?}");
    }
    assert!(!outcome.stdout.contains("REACHED"), "{outcome:?}");
    let knocked = listener.accept().expect_err("somebody knocked");
    assert_eq!(knocked.kind(), ErrorKind::WouldBlock);
}

#[test]
#[ignore = "needs the network"]
fn the_network_of_the_host_is_reached() {
    let sandbox = with_tiny();
    let address = own_address();
    let (listener, port) = listen(address);
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // A request that is not read would reset the connection.
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        let body = vec![b'x'; 4 << 20];
        write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
        stream.write_all(&body).unwrap();
    });
    let imagefile = format!("FROM tiny\nRUN wget -q -O /file http://{address}:{port}/\n");
    let _ = sandbox.build("reached", &imagefile, &[]).exits(0);
    served.join().unwrap();
    let root = Disk::open(&sandbox.backend().join("reached")).ext(1);
    assert_eq!(root.read("/file").len(), 4 << 20);
}

#[test]
#[ignore = "needs the network"]
fn network_names_resolve() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let _ = sandbox.build("net", &format!("{TINY}RUN nslookup deb.debian.org\n"), &[]).exits(0);
    let root = Disk::open(&sandbox.backend().join("net")).ext(1);
    assert!(!root.has("/etc/resolv.conf"), "the resolver's configuration is not left in the image");
}

#[test]
fn no_network() {
    let sandbox = Sandbox::new();
    rootfs(&sandbox);
    let imagefile = format!("{TINY}RUN ls /sys/class/net\n");
    let outcome = sandbox.build("net", &imagefile, &["--network", "none"]).exits(0);
    assert!(!outcome.stdout.contains("eth0"), "{outcome:?}");
}
