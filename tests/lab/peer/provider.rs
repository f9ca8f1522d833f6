//! A provider of subscriptions: a web server of ours that says what a test wants, also what no real
//! one would, and remembers what it was asked.

use super::{service, unbound};
use crate::world::{Family, Host};
use quinn::rustls::crypto::ring::default_provider;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use quinn::rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// What it says.
#[derive(Clone, Default)]
pub struct Reply {
    /// Behind "HTTP/1.1 200 OK", each with its end.
    pub headers: String,
    pub status: &'static str,
    pub body: Vec<u8>,
    /// How often the body is sent.
    pub times: usize,
    /// Says that so many bytes more would come.
    pub missing: usize,
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Reply { status: "200 OK", body: body.into(), times: 1, ..Reply::default() }
    }

    pub fn with(self, header: &str) -> Self {
        Reply { headers: format!("{}{header}\r\n", self.headers), ..self }
    }
}

/// What it was asked: by whom, and with which head.
pub type Asked = Vec<(IpAddr, String)>;

#[derive(Clone)]
pub struct Provider {
    reply: Arc<Mutex<Reply>>,
    asked: Arc<Mutex<Asked>>,
}

impl Provider {
    /// Serves plain HTTP.
    pub fn start(host: Host, family: Family, port: u16, reply: Reply) -> Self {
        let provider = Provider { reply: Arc::new(Mutex::new(reply)), asked: Arc::default() };
        let serving = provider.clone();
        service::tcp(host.port(family, port), move |stream| {
            let from = stream.peer_addr().map(|peer| peer.ip());
            let _ = from.and_then(|from| serving.serve(from, stream));
        });
        provider
    }

    /// Serves HTTPS as `dns.example`.
    pub fn with_tls(host: Host, family: Family, port: u16, reply: Reply) -> Self {
        let read = |name| fs::read(unbound::certificates().join(name)).expect("it is there");
        let key = PrivatePkcs8KeyDer::from(read("dns.example.key.der"));
        let certificate = CertificateDer::from(read("dns.example.der"));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring can do both versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
            .expect("the key fits");
        let config = Arc::new(config);
        let provider = Provider { reply: Arc::new(Mutex::new(reply)), asked: Arc::default() };
        let serving = provider.clone();
        service::tcp(host.port(family, port), move |stream| {
            let Ok(from) = stream.peer_addr() else { return };
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a configuration");
            let mut tls = StreamOwned::new(connection, stream);
            let _ = serving.serve(from.ip(), &mut tls);
            tls.conn.send_close_notify();
            let _ = tls.flush();
        });
        provider
    }

    /// From now on it says this.
    pub fn says(&self, reply: Reply) {
        *self.reply.lock().expect("nothing panics with it") = reply;
    }

    pub fn asked(&self) -> Asked {
        self.asked.lock().expect("nothing panics with it").clone()
    }

    fn serve(&self, from: IpAddr, mut stream: impl Read + Write) -> io::Result<()> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let reply = self.reply.lock().expect("nothing panics with it").clone();
        // RFC 9110, 13.1.2.
        let etag = reply.headers.lines().find_map(|line| line.strip_prefix("ETag: "));
        let is_same = etag.is_some_and(|etag| {
            head.lines().any(|line| {
                line.split_once(": ").is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("if-none-match") && value == etag
                })
            })
        });
        self.asked.lock().expect("nothing panics with it").push((from, head));
        if is_same {
            return stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
        }
        let Reply { headers, status, body, times, missing } = reply;
        let length = body.len() * times + missing;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
        )?;
        for _ in 0..times {
            stream.write_all(&body)?;
        }
        stream.flush()
    }
}
