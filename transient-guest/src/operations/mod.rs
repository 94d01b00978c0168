//! What the builder VM does with the image: one process for every request.
//!
//! [`operate`] carries out one [`Request`]; [`run_command`] and [`inspect`] run programs of the image
//! in a container, whose first process is [`container_init`].

use std::path::Path;

use transient_guest::protocol::{Reply, Request};
use transient_guest::{failure, inside};

mod blkid;
mod container;
mod discover;
mod finish;
mod format;
mod fstab;
mod lvm;
pub(crate) mod modules;
mod mount;
mod mounts;
mod pack;
mod partition;
mod program;
mod quiet;
mod resolver;
mod scratch;
mod selinux;
mod unpack;

pub(crate) use container::{container_init, inspect, run_command};
use failure::Failure;

/// Carries out `request`, and says what came of it: notes first, then [`Reply::Done`] or [`Reply::Failed`].
///
/// `data_port` is the device that a tar stream comes from, for [`Request::Unpack`], or goes to, for [`Request::Pack`].
pub(crate) fn operate(request: Request, data_port: Option<&Path>, reply: &mut dyn FnMut(Reply)) {
    let outcome = carry_out(request, data_port, reply);
    reply(match outcome {
        Ok(()) => Reply::Done,
        Err(failure) => failure.into_reply(),
    });
}

fn carry_out(
    request: Request,
    data_port: Option<&Path>,
    reply: &mut dyn FnMut(Reply),
) -> Result<(), Failure> {
    match request {
        Request::Partition { label, partitions } => partition::partition(label, &partitions),
        Request::Format { partition, filesystem, options } => format::format(partition, filesystem, &options),
        Request::Mount { mounts, since } => mount::mount_new(&mounts, since),
        Request::Unpack { destination, placement } => {
            unpack::unpack(data_port, &destination, &placement, reply)
        }
        Request::Pack { source } => pack::pack(data_port, &source, reply),
        Request::Pause => quiet::pause(),
        Request::GoOn => quiet::go_on(),
        Request::Finish => finish::finish(reply),
        Request::MountImage => discover::mount_image(reply),
        Request::MountAgain { mounts, since } => mount::mount_again(&mounts, since),
    }
}
