//! The gate between the guest's network card and QEMU's user network, on the host, where no guest can open it.
//!
//! QEMU makes connections for the guest from the host itself. Without a gate, the guest would thus reach what listens on
//! the host's loopback: at the gateway's address, at the resolver's, at those of the loopback itself in
//! frames that it makes by hand (libslirp, `sotranslate_out`). Every frame of the guest goes through here
//! first (`filter-redirector` in QEMU's man page), after its length in four bytes, and only what may leave goes on.

use std::net::Ipv4Addr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use transient_guest::protocol::{CLOSED_NETWORKS, RESOLVER};

/// The longest frame that QEMU sends (its `NET_BUFSIZE`).
const LONGEST_FRAME: usize = 4096 + 65536;
/// How many frames may wait for QEMU. Those that find no place are lost, as in any network; to wait would be to
/// wait for QEMU while QEMU waits here.
const FRAMES_WAITING: usize = 1024;
const DNS: u16 = 53;

/// Lets frames from the guest go on to the network until QEMU ends. If this ends before, the guest is cut off.
pub(super) async fn keep(mut guest: UnixStream, network: UnixStream) {
    let (queue, frames) = mpsc::channel(FRAMES_WAITING);
    let passing = pass(frames, network);
    let checking = async {
        loop {
            match next_frame(&mut guest).await {
                Ok(frame) if may_leave(&frame[4..]) => {
                    let _ = queue.try_send(frame);
                }
                Ok(frame) => tracing::debug!(target: "transient::network", "held back {} bytes", frame.len()),
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = checking => tracing::debug!("the guest's network ended: {error}"),
        error = passing => tracing::debug!("QEMU takes no more frames: {error:?}"),
    }
}

async fn pass(mut frames: mpsc::Receiver<Vec<u8>>, mut network: UnixStream) -> std::io::Result<()> {
    while let Some(frame) = frames.recv().await {
        network.write_all(&frame).await?;
    }
    Ok(())
}

/// Reads a frame, the length before it included.
async fn next_frame(guest: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let length = guest.read_u32().await?;
    let longest = usize::try_from(length).ok().filter(|&length| length <= LONGEST_FRAME);
    let size = longest.ok_or_else(|| std::io::Error::other("QEMU sends too long a frame"))?;
    let mut frame = vec![0; 4 + size];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    guest.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

/// Whether a frame may leave the guest. Of what is not understood, nothing does.
fn may_leave(frame: &[u8]) -> bool {
    let Ok(ethernet) = Ethernet2HeaderSlice::from_slice(frame) else { return false };
    let packet = &frame[ethernet.slice().len()..];
    match ethernet.ether_type() {
        EtherType::ARP => true,
        EtherType::IPV4 => Ipv4HeaderSlice::from_slice(packet)
            .is_ok_and(|header| may_be_sent(&header, &packet[header.slice().len()..])),
        // QEMU's network is told to have no IPv6.
        _ => false,
    }
}

fn may_be_sent(header: &Ipv4HeaderSlice<'_>, data: &[u8]) -> bool {
    let to = header.destination_addr();
    if to == Ipv4Addr::from(RESOLVER) {
        // Whatever the port, QEMU would send it to the host's own resolver, which may be on the loopback.
        return !header.is_fragmenting_payload() && destination_port(header.protocol(), data) == Some(DNS);
    }
    let first = to.octets()[0];
    let is_closed = |(network, prefix): ([u8; 4], u8)| {
        let mask = u32::MAX << (32 - prefix);
        to.to_bits() & mask == Ipv4Addr::from(network).to_bits() & mask
    };
    // "This host" is the loopback to Linux; multicast, reserved addresses and broadcast are nobody's server.
    first != 0 && first < 224 && !to.is_loopback() && !CLOSED_NETWORKS.into_iter().any(is_closed)
}

fn destination_port(protocol: IpNumber, data: &[u8]) -> Option<u16> {
    match protocol {
        IpNumber::UDP => UdpHeaderSlice::from_slice(data).ok().map(|header| header.destination_port()),
        IpNumber::TCP => TcpHeaderSlice::from_slice(data).ok().map(|header| header.destination_port()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpFragOffset, Ipv4Header};
    use proptest::prelude::*;

    use super::*;

    fn frame(ether_type: EtherType, packet: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &ether_type.0.to_be_bytes(), packet].concat()
    }

    fn header(protocol: IpNumber, to: [u8; 4], length: usize) -> Ipv4Header {
        let length = u16::try_from(length).expect("short");
        Ipv4Header::new(length, 64, protocol, [10, 0, 2, 15], to).expect("short")
    }

    /// A frame with the beginning of a datagram or of a connection.
    fn to(protocol: IpNumber, address: [u8; 4], port: u16) -> Vec<u8> {
        let mut data = [&40000_u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 16]].concat();
        data[5] = 8;
        data[12] = 5 << 4;
        let header = header(protocol, address, data.len());
        frame(EtherType::IPV4, &[&header.to_bytes()[..], &data].concat())
    }

    fn tcp(address: [u8; 4], port: u16) -> bool {
        may_leave(&to(IpNumber::TCP, address, port))
    }

    #[test]
    fn the_internet_and_the_local_network_are_reached() {
        for address in
            [[151, 101, 2, 132], [192, 168, 1, 1], [10, 0, 2, 1], [172, 17, 0, 1], [223, 255, 255, 255]]
        {
            for protocol in [IpNumber::TCP, IpNumber::UDP, IpNumber::ICMP] {
                assert!(may_leave(&to(protocol, address, 80)), "{address:?}");
            }
        }
        assert!(may_leave(&frame(EtherType::ARP, &[0; 28])));
    }

    #[test]
    fn the_loopback_of_the_host_is_not_reached_by_any_address() {
        let closed = [
            [10, 0, 2, 2],
            [127, 0, 0, 1],
            [127, 255, 0, 53],
            [0, 0, 0, 0],
            [0, 1, 2, 3],
            [255; 4],
            [224, 0, 0, 1],
        ];
        for address in closed {
            for protocol in [IpNumber::TCP, IpNumber::UDP, IpNumber::ICMP, IpNumber(132)] {
                assert!(!may_leave(&to(protocol, address, 53)), "{address:?}");
            }
        }
    }

    #[test]
    fn the_metadata_of_a_cloud_is_not_reached() {
        assert!(!tcp([169, 254, 169, 254], 80));
        assert!(tcp([169, 253, 255, 255], 80) && tcp([169, 255, 0, 0], 80));
    }

    #[test]
    fn the_resolver_resolves_and_does_nothing_else() {
        assert!(tcp(RESOLVER, 53) && may_leave(&to(IpNumber::UDP, RESOLVER, 53)));
        assert!(!tcp(RESOLVER, 22) && !may_leave(&to(IpNumber::UDP, RESOLVER, 5353)));
        assert!(!may_leave(&to(IpNumber::ICMP, RESOLVER, 53)));
        // A fragment has no port, or may be overwritten by another one.
        for (offset, more) in [(0, true), (1, false)] {
            let mut header = header(IpNumber::UDP, RESOLVER, 8);
            header.fragment_offset = IpFragOffset::try_new(offset).expect("small");
            header.more_fragments = more;
            let fragment = [&header.to_bytes()[..], &[0, 1, 0, 53, 0, 8, 0, 0]].concat();
            assert!(!may_leave(&frame(EtherType::IPV4, &fragment)));
        }
    }

    #[test]
    fn what_is_not_understood_stays() {
        let good = to(IpNumber::TCP, [1, 1, 1, 1], 80);
        for length in 0..34 {
            assert!(!may_leave(&good[..length]));
        }
        for ether_type in [EtherType::IPV6, EtherType::VLAN_TAGGED_FRAME, EtherType(0x88f8)] {
            assert!(!may_leave(&frame(ether_type, &good[14..])));
        }
        // Options do not hide the port.
        let mut options = to(IpNumber::UDP, RESOLVER, 22);
        options[14] = 0x46;
        options.splice(34..34, [0, 53, 0, 53]);
        assert!(!may_leave(&options));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(frame in prop::collection::vec(any::<u8>(), 0..100)) {
            may_leave(&frame);
        }
    }

    #[tokio::test]
    async fn what_may_leave_goes_on_in_order() {
        let (mut guest, from_guest) = UnixStream::pair().expect("a pair");
        let (to_network, mut network) = UnixStream::pair().expect("a pair");
        let kept = tokio::spawn(keep(from_guest, to_network));
        let send =
            |frame: Vec<u8>| [&u32::try_from(frame.len()).expect("short").to_be_bytes()[..], &frame].concat();
        let (first, second) = (to(IpNumber::TCP, [1, 1, 1, 1], 80), to(IpNumber::TCP, [1, 1, 1, 1], 443));
        let held = to(IpNumber::TCP, [127, 0, 0, 1], 80);
        let sent = [send(first.clone()), send(held), send(second.clone())].concat();
        guest.write_all(&sent).await.expect("sent");
        let expected = [send(first), send(second)].concat();
        let mut passed = vec![0; expected.len()];
        network.read_exact(&mut passed).await.expect("passed");
        assert_eq!(passed, expected);
        // Nonsense closes the gate.
        guest.write_all(&[255; 4]).await.expect("sent");
        assert_eq!(network.read(&mut passed).await.expect("closed"), 0);
        kept.await.expect("ended");
    }
}
