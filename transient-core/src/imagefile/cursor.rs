//! Reading the words of one logical line.

use super::line::is_blank;
use super::{Line, Piece, Problem, Span};

/// A word, quotes and escapes undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) span: Span,
}

/// A place in what follows the keyword. The end of a continued line separates words as a blank does.
#[derive(Debug)]
pub(super) struct Cursor<'l, 't> {
    pieces: std::slice::Iter<'l, Piece<'t>>,
    /// What is left of the current piece.
    rest: &'t str,
    /// Where that begins.
    at: usize,
}

impl<'l, 't> Cursor<'l, 't> {
    pub(super) fn new(line: &'l Line<'t>) -> Self {
        Self { pieces: line.rest.iter(), rest: "", at: line.keyword.span.end }
    }

    /// Reads a text that is all on one line.
    pub(super) fn over(piece: Piece<'t>) -> Self {
        Self { pieces: [].iter(), rest: piece.text, at: piece.span.start }
    }

    fn skip_blanks(&mut self) {
        loop {
            let trimmed = self.rest.trim_start_matches(is_blank);
            self.at += self.rest.len() - trimmed.len();
            self.rest = trimmed;
            if !trimmed.is_empty() {
                return;
            }
            let Some(piece) = self.pieces.next() else { return };
            (self.rest, self.at) = (piece.text, piece.span.start);
        }
    }

    fn advance(&mut self, length: usize) -> Piece<'t> {
        let (taken, rest) = self.rest.split_at(length);
        let piece = Piece::new(taken, self.at);
        (self.rest, self.at) = (rest, piece.span.end);
        piece
    }

    /// Whether nothing follows.
    pub(super) fn is_empty(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }

    /// Whether nothing but a comment follows.
    pub(super) fn at_end(&mut self) -> bool {
        self.is_empty() || self.rest.starts_with('#')
    }

    /// The place of the next word, for errors: what is there up to the next blank.
    pub(super) fn next_span(&mut self) -> Span {
        self.skip_blanks();
        let length = self.rest.find(is_blank).unwrap_or(self.rest.len());
        Span::new(self.at, self.at + length)
    }

    pub(super) fn skip_word(&mut self) -> Piece<'t> {
        self.skip_blanks();
        self.advance(self.rest.find(is_blank).unwrap_or(self.rest.len()))
    }

    /// Takes ASCII digits.
    pub(super) fn digits(&mut self) -> Option<Piece<'t>> {
        self.run_of(|byte| byte.is_ascii_digit())
    }

    /// Takes ASCII letters and `_`.
    pub(super) fn letters(&mut self) -> Option<Piece<'t>> {
        self.run_of(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    }

    fn run_of(&mut self, belongs: impl Fn(u8) -> bool) -> Option<Piece<'t>> {
        self.skip_blanks();
        let length = self.rest.bytes().take_while(|byte| belongs(*byte)).count();
        (length > 0).then(|| self.advance(length))
    }

    /// Gives back the end of what was taken last, `piece`, so that only its first `keep` bytes are taken.
    pub(super) fn shorten(&mut self, piece: Piece<'t>, keep: usize, whole: &'t str) -> Piece<'t> {
        let length = piece.text.len() - keep;
        self.at -= length;
        self.rest = &whole[self.at..self.at + length + self.rest.len()];
        Piece::new(&piece.text[..keep], piece.span.start)
    }

    /// Takes one character if it is the next.
    pub(super) fn eat(&mut self, character: char) -> bool {
        self.skip_blanks();
        let is_next = self.rest.starts_with(character);
        if is_next {
            self.advance(character.len_utf8());
        }
        is_next
    }

    /// Takes a text in double quotes, in which nothing is special.
    pub(super) fn quoted(&mut self) -> Result<Piece<'t>, Problem> {
        let span = self.next_span();
        if !self.eat('"') {
            return Err(
                Problem::new(span, "expected a text in double quotes").help("as in `OPTIONS \"-m 0\"`")
            );
        }
        let Some(length) = self.rest.find('"') else {
            let span = Span::new(span.start, self.at + self.rest.len());
            return Err(Problem::new(span, "the closing `\"` is missing").help("it must be on the same line"));
        };
        let text = self.advance(length);
        self.advance(1);
        Ok(text)
    }

    /// Takes a word as a shell does: quotes and `\` keep blanks. An apostrophe (`it's`), and a quote within a
    /// word that is never closed, are characters like others.
    pub(super) fn word(&mut self) -> Result<Option<Word>, Problem> {
        self.skip_blanks();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let mut text = String::new();
        let mut previous = None;
        while let Some(character) = self.rest.chars().next().filter(|character| !is_blank(*character)) {
            self.advance(character.len_utf8());
            match character {
                _ if is_apostrophe(previous, character) => text.push(character),
                '\\' => text.extend(self.escaped()),
                '"' | '\'' => match closing(self.rest, character) {
                    Some(length) => self.unquote(character, length, &mut text),
                    None if self.at == start + 1 => {
                        let span = Span::new(start, self.at + self.rest.len());
                        let message = format!("the closing `{character}` is missing");
                        let help = "to mean the character itself, put a `\\` before it";
                        return Err(Problem::new(span, message).help(help));
                    }
                    None => text.push(character),
                },
                _ => text.push(character),
            }
            previous = Some(character);
        }
        Ok(Some(Word { text, span: Span::new(start, self.at) }))
    }

    fn escaped(&mut self) -> Option<char> {
        let character = self.rest.chars().next()?;
        self.advance(character.len_utf8());
        Some(character)
    }

    fn unquote(&mut self, quote: char, length: usize, text: &mut String) {
        let inner = self.advance(length).text;
        self.advance(1);
        let mut characters = inner.chars().peekable();
        while let Some(character) = characters.next() {
            match characters.peek() {
                Some('"' | '\\') if quote == '"' && character == '\\' => text.extend(characters.next()),
                _ => text.push(character),
            }
        }
    }
}

/// Whether a `'` is part of a name.
pub(super) fn is_apostrophe(previous: Option<char>, character: char) -> bool {
    character == '\'' && previous.is_some_and(char::is_alphanumeric)
}

/// Finds the closing quote; in double quotes a `\` escapes.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if character == quote && !escaped {
            return Some(at);
        }
        escaped = quote == '"' && character == '\\' && !escaped;
    }
    None
}

/// Writes a word so that [`Cursor::word`] reads it as it is.
pub(super) fn quote(word: &str) -> std::borrow::Cow<'_, str> {
    let special = |character: char| is_blank(character) || matches!(character, '"' | '\'' | '\\');
    if !word.is_empty() && !word.starts_with('#') && !word.contains(special) {
        return word.into();
    }
    if !word.contains('\'') {
        return format!("'{word}'").into();
    }
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")).into()
}

/// Writes a word so that [`Cursor::word`] reads it as it is, within double quotes that it has none of.
pub(super) fn quote_within_quotes(word: &str) -> std::borrow::Cow<'_, str> {
    if !word.contains('\'') {
        return quote(word);
    }
    let mut quoted = String::new();
    for character in word.chars() {
        if is_blank(character) || matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.into()
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, Problem> {
        let text = format!("COPY {text}");
        let lines = lines(&text);
        let mut cursor = Cursor::new(&lines[0]);
        let mut words = Vec::new();
        while let Some(word) = cursor.word()? {
            words.push(word.text);
        }
        Ok(words)
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        for (text, expected) in [
            ("a b  c", &["a", "b", "c"] as &[_]),
            (r#""a b" c"#, &["a b", "c"]),
            ("'a \"b' x/'y z'", &["a \"b", "x/y z"]),
            ("it's bob's x\"y z\"", &["it's", "bob's", "xy z"]),
            (r"a\ b \\ \'", &["a b", "\\", "'"]),
            (r#""a\"b\\c\d""#, &["a\"b\\c\\d"]),
            ("it's #x", &["it's", "#x"]),
            ("a\\\nb", &["a", "b"]),
            ("''", &[""]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_is_an_error() {
        let problem = words("a 'b c").unwrap_err();
        assert_eq!(problem.span, Span::new(7, 11));
    }

    proptest::proptest! {
        #[test]
        fn quoting_is_undone(word in "[a-c #'\"\\\\äß\t]{0,12}") {
            proptest::prop_assert_eq!(words(&quote(&word)).unwrap(), [word]);
        }
    }
}
