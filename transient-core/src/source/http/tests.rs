use std::io::Write;
use std::time::{Duration, Instant};

use async_channel::Receiver as Events;

use super::server::{Asked, Reply, Server};
use super::*;
use crate::{Event, Locations, Store};

/// Long enough to be sent in many pieces.
const LENGTH: usize = 3 << 20;

const QUICK: Patience = Patience::for_tests(Duration::from_secs(20));

fn content() -> Vec<u8> {
    (0..LENGTH / 8)
        .flat_map(|number| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

struct Fixture {
    store: Store,
    reporter: Reporter,
    events: Events<Event>,
    cancel: CancelToken,
    patience: Patience,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Downloads::default())
    }

    fn with(downloads: Downloads) -> Self {
        let mut locations = Locations::below("/nowhere");
        locations.downloads = downloads;
        let (reporter, events) = Reporter::channel();
        let cancel = CancelToken::new();
        Self { store: Store::new(locations), reporter, events, cancel, patience: QUICK }
    }

    fn ask(&self, request: Request) -> Result<Download, Failure> {
        let (store, reporter, cancel) = (&self.store, &self.reporter, &self.cancel);
        let place = Place { store, folder: "/nowhere".as_ref(), checksum: None, reporter, cancel };
        Download::start(request, self.patience, &place)
    }

    fn start(&self, url: &str) -> Result<Download, Failure> {
        self.ask(request(url))
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, Error> {
        let mut download = self.start(url)?;
        let mut bytes = Vec::new();
        download.read_to_end(&mut bytes).map_err(|error| error.downcast::<Error>().expect("explained"))?;
        Ok(bytes)
    }

    /// Asserts that the download fails for this reason.
    #[track_caller]
    fn fails(&self, url: &str, words: &str) -> Error {
        let error = self.get(url).expect_err("it fails");
        assert_eq!(error.kind(), ErrorKind::SourceFailed);
        assert!(error.report().contains(words), "{words} is not in: {}", error.report());
        error
    }
}

fn request(url: &str) -> Request {
    let address = Address::parse(url).expect("a URL");
    Request { address, expects: Expects::Image, token: None, checked: false }
}

#[test]
fn all_of_it_arrives() {
    let server = Server::start(|_| Reply::ok(content()));
    let fixture = Fixture::new();
    assert_eq!(fixture.start(&server.url("/a?b")).expect("begun").total, Some(LENGTH as u64));
    assert!(fixture.get(&server.url("/a?b")).expect("downloaded") == content());
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/a?b");
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert!(asked.header("user-agent").is_some_and(|agent| agent.starts_with("transient/")));
    assert_eq!(asked.header("range"), None);
}

#[test]
fn a_length_that_is_not_known_is_none() {
    let server = Server::start(|_| Reply::ok(content()).of_length(usize::MAX));
    let fixture = Fixture::new();
    assert_eq!(fixture.start(&server.url("/")).expect("begun").total, None);
    assert!(fixture.get(&server.url("/")).expect("downloaded") == content());
}

/// Cuts the connection when another tenth is done; the tenth and last is whole.
fn tenths(asked: &Asked, reply: impl Fn(Vec<u8>) -> Reply) -> Reply {
    let start = asked.header("range").map_or(0, |_| (asked.number - 1) * LENGTH / 10);
    reply(content()).cut_after(asked.number * LENGTH / 10 - start)
}

#[test]
fn a_connection_that_breaks_at_every_tenth_is_resumed() {
    for (name, value) in [("ETag", "\"one\""), ("Last-Modified", "Tue, 24 Nov 2026 12:00:00 GMT")] {
        let server = Server::start(move |asked| {
            // The server itself goes by the tag.
            let tag = asked.header("if-range").unwrap_or(value).to_owned();
            tenths(asked, |body| Reply::ok(body).ranges().header("ETag", tag.clone()).header(name, value))
        });
        let fixture = Fixture::new();
        assert!(fixture.get(&server.url("/")).expect("downloaded") == content());
        let asked = server.asked();
        assert_eq!(asked.len(), 10);
        assert_eq!(asked[1].header("range"), Some(&*format!("bytes={}-", LENGTH / 10)));
        let notes: Vec<_> = std::iter::from_fn(|| fixture.events.try_recv().ok()).collect();
        assert_eq!(notes.len(), 9, "{notes:?}");
    }
}

#[test]
fn a_server_without_ranges_is_read_again_from_the_beginning() {
    let server = Server::start(|asked| tenths(asked, |body| Reply::ok(body).header("ETag", "\"one\"")));
    assert!(Fixture::new().get(&server.url("/")).is_err(), "a tenth from the start brings nothing new");
    let server = Server::start(|asked| match asked.number {
        number @ 1..10 => Reply::ok(content()).header("ETag", "\"one\"").cut_after(number * LENGTH / 10),
        _ => Reply::ok(content()).header("ETag", "\"one\""),
    });
    assert!(Fixture::new().get(&server.url("/")).expect("downloaded") == content());
    assert_eq!(server.asked().len(), 10);
}

#[test]
fn without_a_name_of_the_version_no_part_is_asked_for() {
    let server = Server::start(|asked| match asked.number {
        1 => Reply::ok(content()).ranges().header("ETag", "W/\"weak\"").cut_after(LENGTH / 3),
        _ => Reply::ok(content()).ranges(),
    });
    assert!(Fixture::new().get(&server.url("/")).expect("downloaded") == content());
    assert_eq!(server.asked()[1].header("range"), None);
}

#[test]
fn mirrors_that_name_the_same_file_differently_do() {
    let server = Server::start(|asked| {
        let reply = Reply::ok(content()).ranges().header("ETag", format!("\"{}\"", asked.number));
        if asked.number == 1 { reply.cut_after(LENGTH / 3) } else { reply }
    });
    assert!(Fixture::new().get(&server.url("/")).expect("downloaded") == content());
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    for length in [LENGTH, LENGTH - 1] {
        let server = Server::start(move |asked| {
            let mut body = content();
            if asked.number == 1 {
                return Reply::ok(body).ranges().header("ETag", "\"one\"").cut_after(LENGTH / 3);
            }
            body[1000] ^= 1;
            body.truncate(length);
            Reply::ok(body).ranges().header("ETag", "\"other\"")
        });
        Fixture::new().fails(&server.url("/"), "it has changed while it was downloaded");
        assert_eq!(server.asked().len(), 2);
    }
}

#[test]
fn an_answer_of_the_wrong_length_is_noticed() {
    let server = Server::start(|_| Reply::ok(content()).of_length(LENGTH + 1).ranges());
    Fixture::new().fails(&server.url("/"), "cannot download");
    assert_eq!(server.asked().len(), QUICK.failures_in_a_row as usize);
}

#[test]
fn what_is_not_there_is_not_asked_for_again() {
    let server = Server::start(|_| Reply::new("404 Not Found", "nothing"));
    let error = Fixture::new().fails(&server.url("/disk?secret"), "the server answered 404 Not Found");
    assert_eq!(error.to_string(), format!("cannot download '{}'", server.url("/disk")));
    assert_eq!(server.asked().len(), 1);
    assert!(Fixture::new().start(&server.url("/")).err().expect("fails").absent);
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let server = Server::start(move |asked| match asked.number {
            1..=3 => Reply::new(status, "").header("Retry-After", "0"),
            _ => Reply::ok("at last"),
        });
        assert_eq!(Fixture::new().get(&server.url("/")).expect("downloaded"), b"at last");
        assert_eq!(server.asked().len(), 4);
    }
}

#[test]
fn patience_ends() {
    let server = Server::start(|_| Reply::new("503 Service Unavailable", ""));
    Fixture::new().fails(&server.url("/"), "the server answered 503 Service Unavailable");
    assert_eq!(server.asked().len(), QUICK.failures_in_a_row as usize);
    let server = Server::start(|_| Reply::new("503 Service Unavailable", "").header("Retry-After", "3600"));
    Fixture::new().fails(&server.url("/"), "to be asked again in 3600 s");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn nobody_at_the_address_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    Fixture::new().fails(&format!("http://127.0.0.1:{port}/"), "Connection refused");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let server = Server::start(|asked| match &*asked.path {
        "/old" => Reply::redirect("new?x=1"),
        "/new?x=1" => Reply::ok("moved"),
        _ => Reply::redirect("/round"),
    });
    assert_eq!(Fixture::new().get(&server.url("/old")).expect("downloaded"), b"moved");
    Fixture::new().fails(&server.url("/round"), "it redirects too often");
}

#[test]
fn a_web_page_is_no_image() {
    let server = Server::start(|_| Reply::ok("<html>").header("Content-Type", "text/html; charset=utf-8"));
    Fixture::new().fails(&server.url("/"), "the server sent a web page, not an image");
}

#[test]
fn credentials_are_sent_to_the_server_alone_and_never_shown() {
    let other = Server::start(|_| Reply::ok("from elsewhere"));
    let elsewhere = format!("http://localhost:{}/", other.port());
    let server = Server::start(move |asked| match &*asked.path {
        "/away" => Reply::redirect(elsewhere.clone()),
        _ => Reply::new("401 Unauthorized", ""),
    });
    let fixture = Fixture::new();
    let url = server.url("/here").replace("http://", "http://user:secret@");
    let error = fixture.fails(&url, "401 Unauthorized");
    assert!(!error.report().contains("secret") && !error.report().contains("user:"), "{}", error.report());
    assert_eq!(server.asked()[0].header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    let with_token = Request { token: Some("secret".to_owned()), ..request(&server.url("/away")) };
    fixture.ask(with_token).expect("begun");
    assert_eq!(server.asked()[1].header("authorization"), Some("Bearer secret"));
    assert_eq!(other.asked()[0].header("authorization"), None);
}

#[test]
fn a_proxy_is_used_unless_the_host_is_excepted() {
    let proxy = Server::start(|_| Reply::ok("through the proxy"));
    let server = Server::start(|_| Reply::ok("directly"));
    let through = |no_proxy: &str| {
        Fixture::with(Downloads {
            http_proxy: Some(proxy.url("/").replace("http://", "http://user:secret@")),
            no_proxy: Some(no_proxy.to_owned()),
            ..Downloads::default()
        })
    };
    assert_eq!(through("").get("http://images.example/x").expect("downloaded"), b"through the proxy");
    assert_eq!(proxy.asked()[0].path, "http://images.example/x");
    assert_eq!(proxy.asked()[0].header("proxy-authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    for excepted in ["127.0.0.1", "example.com, 127.0.0.0/8", "*"] {
        assert_eq!(through(excepted).get(&server.url("/")).expect("downloaded"), b"directly");
    }
    let wrong =
        Fixture::with(Downloads { http_proxy: Some("http://[secret".to_owned()), ..Downloads::default() });
    let error = wrong.get(&server.url("/")).expect_err("no URL");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.report().contains("http_proxy") && !error.report().contains("secret"),
        "{}",
        error.report()
    );
}

#[test]
fn a_silent_server_is_given_up_after_a_while() {
    let server = Server::start(|_| Reply::silent());
    let fixture = Fixture { patience: Patience::for_tests(Duration::from_millis(30)), ..Fixture::new() };
    fixture.fails(&server.url("/"), "nothing came for 0.03 s");
    assert_eq!(server.asked().len(), QUICK.failures_in_a_row as usize);
}

#[test]
fn a_cancel_ends_it_at_once() {
    let silent = Server::start(|_| Reply::silent());
    // Everything but the last byte, for which one would wait long.
    let stuck = Server::start_with(
        |_| Reply::ok(content()).of_length(LENGTH + 1),
        |server, stream| {
            server.serve(stream)?;
            io::copy(&mut &*stream, &mut io::sink()).map(drop)
        },
    );
    for server in [silent, stuck] {
        let fixture = Fixture::new();
        let (error, took) = thread::scope(|scope| {
            let work = scope.spawn(|| fixture.get(&server.url("/")).map(|_| Instant::now()));
            while server.asked().is_empty() {
                thread::yield_now();
            }
            let begun = Instant::now();
            fixture.cancel.cancel();
            let error = work.join().expect("no panic").expect_err("cancelled");
            (error, begun.elapsed())
        });
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

#[test]
fn a_download_that_is_dropped_ends() {
    let server = Server::start(|_| Reply::ok(content()));
    let begun = Instant::now();
    let mut download = Fixture::new().start(&server.url("/")).expect("begun");
    assert!(download.read(&mut [0; 100]).expect("read") > 0);
    drop(download);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

/// A server that speaks TLS, and the file of the authority that says who it is.
fn trusted_server(
    handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> (Server, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), made.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let config = std::sync::Arc::new(config);
    let server = Server::start_with(handler, move |server, stream| {
        let connection = rustls::ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(connection, stream.try_clone()?);
        server.serve(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    });
    (server, file)
}

fn trusting(file: &tempfile::NamedTempFile) -> Downloads {
    Downloads { certificates: vec![file.path().to_owned()], ..Downloads::default() }
}

#[test]
fn only_who_is_trusted_is_downloaded_from() {
    let (server, authority) = trusted_server(|_| Reply::ok(content()));
    let url = format!("https://localhost:{}/", server.port());
    assert!(Fixture::with(trusting(&authority)).get(&url).expect("downloaded") == content());
    let fixture = Fixture::new();
    let error = fixture.fails(&url, "the server is not trusted: invalid peer certificate");
    assert!(error.hints()[0].contains("SSL_CERT_FILE"));
    assert!(fixture.events.try_recv().is_err(), "it was asked again");
    // The name does not fit.
    let other = format!("https://127.0.0.1:{}/", server.port());
    Fixture::with(trusting(&authority)).fails(&other, "the server is not trusted");
}

#[test]
fn certificates_that_cannot_be_read_are_said() {
    for path in ["/nowhere/ca.pem", "/dev/null"] {
        let fixture = Fixture::with(Downloads { certificates: vec![path.into()], ..Downloads::default() });
        let error = fixture.get("http://127.0.0.1:1/").expect_err("no certificates");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.report().contains(path), "{}", error.report());
    }
}

#[test]
fn https_is_not_given_up_unless_there_is_a_checksum() {
    let plain = Server::start(|_| Reply::ok("plain"));
    let away = plain.url("/");
    let (server, authority) = trusted_server(move |_| Reply::redirect(away.clone()));
    let url = format!("https://localhost:{}/", server.port());
    let fixture = Fixture::with(trusting(&authority));
    fixture.fails(&url, "it redirects from https to http");
    fixture.ask(Request { checked: true, ..request(&url) }).expect("begun");
    assert_eq!(plain.asked().len(), 1);
}
