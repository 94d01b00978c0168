//! A small HTTP server for tests, which misbehaves as it is told.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Counted from 1.
    pub(crate) number: usize,
    /// As it was sent; to a proxy, a whole URL.
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    /// Returns a header, named in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Where ranges of the body are understood.
    ranges: bool,
    /// After how many bytes of the body the connection is cut.
    cut: Option<usize>,
    /// What is said to be the length of the body.
    length: Option<usize>,
    silent: bool,
}

impl Reply {
    pub(crate) fn new(status: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let length = None;
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            ranges: false,
            cut: None,
            length,
            silent: false,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new("200 OK", body)
    }

    pub(crate) fn redirect(location: impl Into<String>) -> Self {
        Self::new("302 Found", "").header("Location", location)
    }

    /// Takes the request, and never answers it.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::ok("") }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn ranges(mut self) -> Self {
        self.ranges = true;
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Says a wrong length, or with `usize::MAX` none.
    pub(crate) fn of_length(mut self, length: usize) -> Self {
        self.length = Some(length);
        self
    }

    /// Returns the status, what is sent, and where that begins in the body, for a request.
    fn part(&self, asked: &Asked) -> (&'static str, &[u8], Option<usize>) {
        let tag = self.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| tag.as_str());
        let same = asked.header("if-range").is_none_or(|wanted| Some(wanted) == tag);
        match asked.range_start().filter(|start| self.ranges && same && *start < self.body.len()) {
            Some(start) => ("206 Partial Content", &self.body[start..], Some(start)),
            None => (self.status, &self.body[..], None),
        }
    }

    fn send(&self, asked: &Asked, stream: &mut (impl Read + Write)) -> io::Result<()> {
        if self.silent {
            return io::copy(stream, &mut io::sink()).map(drop);
        }
        let (status, part, start) = self.part(asked);
        let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        match self.length {
            Some(usize::MAX) => {}
            length => head.push_str(&format!("Content-Length: {}\r\n", length.unwrap_or(part.len()))),
        }
        if let Some(start) = start {
            let total = self.body.len();
            head.push_str(&format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        stream.write_all(&part[..part.len().min(self.cut.unwrap_or(usize::MAX))])?;
        stream.flush()
    }
}

/// What decides on answers.
type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server, which runs until the tests end.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    handler: Arc<Handler>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Starts a server that answers each request as the handler says.
    pub(crate) fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(handler, |server, stream| server.serve(stream))
    }

    /// As [`Server::start`], with something between the connection and HTTP.
    pub(crate) fn start_with(
        handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        serve: impl Fn(&Self, &TcpStream) -> io::Result<()> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self { address, handler: Arc::new(handler), asked: Arc::default() };
        let running = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (server, serve) = (running.clone(), serve.clone());
                thread::spawn(move || {
                    // The client may well go away.
                    let _ = serve(&server, &stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        server
    }

    /// Returns the URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns what was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Answers the one request of a connection.
    pub(crate) fn serve(&self, mut stream: impl Read + Write) -> io::Result<()> {
        let mut lines = BufReader::new(&mut stream).lines();
        let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
        let mut headers = BTreeMap::new();
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = {
            let mut all = self.asked.lock().expect("no panic");
            let asked = Asked { number: all.len() + 1, path, headers };
            all.push(asked.clone());
            asked
        };
        (self.handler)(&asked).send(&asked, &mut stream)
    }
}
