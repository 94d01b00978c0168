//! Diagnostics as a person reads them.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::Diagnostic;

/// More than these are not shown: whoever has so many has named the wrong file.
const SHOWN: usize = 30;

/// Returns diagnostics as text: for each the message, `file:line:column`, the line with the place marked,
/// and the help. There is no final newline. `color` is for terminals.
///
/// ```
/// use transient_core::imagefile::{Imagefile, render};
///
/// let error = Imagefile::parse("Imagefile", b"FORM x\n").unwrap_err();
/// let text = render(error.diagnostics(), false);
/// assert!(text.contains("--> Imagefile:1:1"));
/// assert!(text.contains("did you mean `FROM`?"));
/// ```
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(100);
    let mut blocks: Vec<String> =
        diagnostics.iter().take(SHOWN).map(|diagnostic| render_one(&renderer, diagnostic)).collect();
    if diagnostics.len() > SHOWN {
        blocks.push(format!("... and {} more errors", diagnostics.len() - SHOWN));
    }
    blocks.join("\n\n")
}

fn render_one(renderer: &Renderer, diagnostic: &Diagnostic) -> String {
    let file = diagnostic.file.to_string_lossy();
    let snippet = Snippet::source(diagnostic.text.as_str())
        .path(file.as_ref())
        .line_start(diagnostic.line)
        .annotation(AnnotationKind::Primary.span(diagnostic.marked()));
    let mut group = Level::ERROR.primary_title(diagnostic.message.as_str()).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    // Lines without a mark are drawn with blanks at their end.
    let rendered = renderer.render(&[group]);
    rendered.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Problem, Span};
    use super::*;

    fn diagnostic(text: &str, start: usize, end: usize) -> Diagnostic {
        let problem =
            Problem { span: Span { start, end }, message: "wrong".into(), help: Some("do so".into()) };
        Diagnostic::locate(problem, Path::new("dir/Imagefile"), text)
    }

    #[test]
    fn the_place_is_marked() {
        insta::assert_snapshot!(render(&[diagnostic("FROM x\nRUN é b\n", 11, 13)], false), @r"
        error: wrong
         --> dir/Imagefile:2:5
          |
        2 | RUN é b
          |     ^
          |
          = help: do so
        ");
    }

    #[test]
    fn a_long_line_stays_readable() {
        let line = format!("{}bad{}", "x ".repeat(4000), " y".repeat(4000));
        let text = render(&[diagnostic(&line, 8000, 8003)], false);
        assert!(text.lines().all(|line| line.chars().count() < 160), "{text}");
        assert!(text.contains("bad") && text.contains("^^^"), "{text}");
    }

    #[test]
    fn colour_is_only_on_request() {
        let diagnostics = [diagnostic("RUN", 0, 3)];
        assert!(!render(&diagnostics, false).contains('\u{1b}'));
        assert!(render(&diagnostics, true).contains('\u{1b}'));
    }

    #[test]
    fn a_flood_is_cut() {
        let text = render(&vec![diagnostic("RUN", 0, 3); 100], false);
        assert!(text.ends_with("... and 70 more errors"));
    }
}
