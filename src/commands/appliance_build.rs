//! `transient appliance build`

use transient_core::appliance::{self, Inputs};

use crate::cli::ApplianceBuild;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(args: ApplianceBuild) -> Result<(), Failure> {
    let mut inputs = Inputs::default();
    inputs.kernel = args.kernel;
    inputs.modules = args.modules;
    let appliance = appliance::build(&inputs, &args.output)?;
    output::text(&super::appliance_show::summary(&appliance))
}
