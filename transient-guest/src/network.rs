//! The guest's side of QEMU's user network: fixed addresses, so that nothing has to be asked for.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use transient_guest::protocol::{CLOSED_NETWORKS, GATEWAY, GUEST_ADDRESS};

use crate::operations::modules;

/// Brings up the loopback device and, if there is a card, the way out.
pub(crate) async fn bring_up(card: bool) -> io::Result<()> {
    if card {
        modules::load("net").map_err(|failure| io::Error::other(failure.message))?;
    }
    let (connection, handle, _) = new_connection()?;
    let connection = tokio::spawn(connection);
    let result = async {
        let loopback = link(&handle, "lo").await?;
        handle.link().set(LinkUnspec::new_with_index(loopback).up().build()).execute().await?;
        if card {
            bring_up_card(&handle).await?;
        }
        Ok::<(), rtnetlink::Error>(())
    };
    let result = result.await.map_err(io::Error::other);
    connection.abort();
    result
}

async fn bring_up_card(handle: &Handle) -> Result<(), rtnetlink::Error> {
    let name = card_name().ok_or(rtnetlink::Error::RequestFailed)?;
    let index = link(handle, &name).await?;
    let (address, prefix) = GUEST_ADDRESS;
    handle.address().add(index, IpAddr::from(address), prefix).execute().await?;
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(Ipv4Addr::from(GATEWAY)).build();
    handle.route().add(route).execute().await?;
    // What goes there does not arrive: whoever tries is told at once, and need not wait.
    for (network, prefix) in CLOSED_NETWORKS {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::from(network), prefix)
            .kind(RouteType::Unreachable);
        handle.route().add(route.build()).execute().await?;
    }
    Ok(())
}

async fn link(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let link = handle.link().get().match_name(name.to_owned()).execute().try_next().await?;
    link.map(|link| link.header.index).ok_or(rtnetlink::Error::RequestFailed)
}

/// The only network device but loopback.
fn card_name() -> Option<String> {
    fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name != "lo" && fs::exists(format!("/sys/class/net/{name}/device")).unwrap_or(false))
}
