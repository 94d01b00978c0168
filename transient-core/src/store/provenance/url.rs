//! URLs in a text that is not ours to understand.

/// Returns the text with the users, passwords and queries of all URLs left out.
pub(crate) fn without_secrets_of_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + "://".len());
        let end = url.find(ends_url).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        shown.push_str(before);
        shown.push_str(without_secrets(url));
        rest = after;
    }
    shown + rest
}

/// Whether a character ends a URL in a command.
fn ends_url(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "\"'`<>()|;".contains(character)
}

/// Returns what may be shown of a URL, whose scheme is not there any more.
fn without_secrets(url: &str) -> &str {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let host = url.find('/').unwrap_or(url.len());
    match url[..host].rfind('@') {
        Some(user) => &url[user + 1..],
        None => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_left_out() {
        for (text, shown) in [
            ("RUN true", "RUN true"),
            ("RUN wget https://me:pw@host/a?key=x -O b", "RUN wget https://host/a -O b"),
            (
                "RUN curl 'ftp://u:p@ss@h' && git clone git://x@y/z",
                "RUN curl 'ftp://h' && git clone git://y/z",
            ),
            ("RUN echo a@b://c/d@e://", "RUN echo a@b://c/d@e://"),
            ("RUN wget \"http://h/?a&b\";wget http://é?ö#ü", "RUN wget \"http://h/\";wget http://é"),
            ("://", "://"),
        ] {
            assert_eq!(without_secrets_of_urls(text), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_will_do(text in "\\PC{0,30}(://)?[a-z@:/?# é]{0,30}") {
            let shown = without_secrets_of_urls(&text);
            proptest::prop_assert_eq!(without_secrets_of_urls(&shown), shown);
        }
    }
}
