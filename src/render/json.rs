//! `--progress json`: one JSON object a line on stdout, for programs.

use std::io::{self, Write};

use transient_core::Event;

use super::Renderer;

pub(super) struct Json;

impl Renderer for Json {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", serde_json::to_string(event)?)?;
        stdout.flush()
    }
}
