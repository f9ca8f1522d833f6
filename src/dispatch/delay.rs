//! A test that somebody asks for: how soon does an answer come through this one proxy?
//!
//! With a URL: the time from the begin of the dial until the first line of the answer, TLS
//! included; the proxy resolves the name. Without: what snet itself asks through its members
//! ([`super::question`]). The result is shown, and never compared with what [`super::watch`]
//! measures: the two are not of one kind. But what it tells of the member counts: an answer is one,
//! and without one the member is asked soon.

use super::attempt::{DialEnd, Over};
use super::delay_url::DelayUrl;
pub use super::delay_url::is_local;
use super::question::{Inquiry, MemberQuestions, MemberReply};
use super::{Error, Upstream, connect_direct};
use crate::proxy::tls::Tls;
use crate::proxy::{Proxy, Stream};
use crate::sync::lock;
use crate::target::Target;
use crate::view::TestView;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// So many tests of a proxy are remembered.
const MOST_REMEMBERED: usize = 10;

/// The first line of an answer is shorter: `HTTP/1.1 200 `.
const STATUS: usize = b"HTTP/1.1 200".len();

/// Why there is no delay.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayError {
    /// It took longer than it may.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

impl Upstream {
    /// How long it takes to be answered by this URL. Also the status of the answer.
    ///
    /// # Errors
    /// It failed, or took longer than `patience`.
    pub async fn delay_of(
        &self,
        url: &DelayUrl,
        tls: &Tls,
        patience: Duration,
    ) -> Result<(Duration, u16), DelayError> {
        let began = Instant::now();
        let target = url.target();
        let asking = async {
            let dialled = self.dial(&target, Over::Fresh, None).await.map_err(|end| match end {
                DialEnd::NotTried => "it is down, and is being tried already".to_owned(),
                end => end.cause().unwrap_or_default().to_owned(),
            })?;
            ask(dialled.link.into_stream(), url, tls, patience).await
        };
        let result = timely(asking, patience).await.map(|status| (began.elapsed(), status));
        self.was_tested(&result);
        result
    }

    /// How long an answer takes to what snet itself asks.
    ///
    /// # Errors
    /// None came, or not within `patience`.
    pub async fn usual_delay(
        self: &Arc<Self>,
        questions: MemberQuestions,
        patience: Duration,
    ) -> Result<Duration, DelayError> {
        let (began, inquiry) = (Instant::now(), Inquiry::new(questions));
        let asking = async {
            match self.ask_all(&inquiry, true).await {
                MemberReply::Heard(mut delays) => {
                    delays.sort();
                    let median = delays.get(delays.len() / 2).copied();
                    self.has_answered(delays, began.elapsed());
                    Ok(median.unwrap_or_else(|| began.elapsed()))
                }
                MemberReply::NotAllowed(cause) => Err(cause),
                MemberReply::Nothing => Err("nothing could be asked".into()),
                MemberReply::Failed(unanswered) => Err(unanswered.to_string()),
            }
        };
        let result = timely(asking, patience).await;
        self.was_tested(&result);
        result
    }

    /// Remembers the test; where it failed, the member is asked.
    fn was_tested<T: Delay>(&self, result: &Result<T, DelayError>) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let delay_ms = result.as_ref().ok().map(|it| milliseconds(it.delay()));
        let mut tests = lock(&self.tests);
        if tests.len() == MOST_REMEMBERED {
            tests.remove(0);
        }
        tests.push(TestView { at, delay_ms });
        drop(tests);
        if result.is_err() {
            self.knowledge().standing.want();
            self.news.notify_one();
        }
    }
}

/// The same without a proxy, at these addresses.
///
/// # Errors
/// None of them answers, or not within `patience`.
pub async fn direct_delay(
    direct: &dyn Proxy,
    addresses: &[SocketAddr],
    url: &DelayUrl,
    tls: &Tls,
    patience: Duration,
) -> Result<(Duration, u16), DelayError> {
    let began = Instant::now();
    let asking = async {
        let mut cause = format!("no name server gives a public address for {}", url.host);
        for address in addresses.iter().filter(|it| !is_local(it.ip())) {
            match connect_direct(direct, &Target::addr(*address)).await {
                Ok(connected) => {
                    return ask(connected.link.into_stream(), url, tls, patience).await;
                }
                Err(error @ (Error::Direct(_) | Error::DirectTimeout { .. })) => {
                    cause = error.to_string();
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(cause)
    };
    timely(asking, patience).await.map(|status| (began.elapsed(), status))
}

/// Whole milliseconds, and never 0, which means a failure to dashboards.
pub(super) fn milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What a test found.
trait Delay {
    fn delay(&self) -> Duration;
}

impl Delay for Duration {
    fn delay(&self) -> Duration {
        *self
    }
}

impl Delay for (Duration, u16) {
    fn delay(&self) -> Duration {
        self.0
    }
}

async fn timely<T>(
    asking: impl Future<Output = Result<T, String>>,
    patience: Duration,
) -> Result<T, DelayError> {
    match timeout(patience, asking).await {
        Ok(result) => result.map_err(DelayError::Failed),
        Err(_) => Err(DelayError::Late(patience)),
    }
}

/// Asks, and waits for the status of the answer.
async fn ask(
    mut stream: Box<dyn Stream>,
    url: &DelayUrl,
    tls: &Tls,
    patience: Duration,
) -> Result<u16, String> {
    let broken = |error: io::Error| format!("{}: {error}", url.authority);
    if url.is_https {
        let secured = tls.connect(&url.host, b"http/1.1", stream, patience).await;
        stream = secured.map_err(|error| format!("{}: TLS: {error}", url.authority))?;
    }
    let DelayUrl { authority, path, .. } = url;
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: snet\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut line = [0; STATUS];
    stream.read_exact(&mut line).await.map_err(broken)?;
    let status = line.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..));
    let status = status.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    status.ok_or_else(|| format!("{authority} does not answer in HTTP"))
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio_rustls::TlsAcceptor;

    const AUTHORITY: &[u8] = include_bytes!("../dns/tests/certificates/authority.der");
    const CERTIFICATE: &[u8] = include_bytes!("../dns/tests/certificates/dns.example.der");
    /// Protects nothing: it was made for tests.
    const KEY: &[u8] = include_bytes!("../dns/tests/certificates/dns.example.key.der");

    fn acceptor() -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// What comes of a test of a site whose certificate is that of `dns.example`.
    async fn asked(url: &str, tls: &Tls) -> Result<u16, String> {
        let (client, site) = tokio::io::duplex(1 << 14);
        tokio::spawn(async move {
            let Ok(mut site) = acceptor().accept(site).await else { return };
            let mut request = [0; 512];
            let length = site.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"HEAD /generate_204 HTTP/1.1\r\nHost: "));
            site.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            let _ = site.read(&mut request).await;
        });
        let url = DelayUrl::parse(url).unwrap();
        ask(Box::new(client), &url, tls, Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn a_site_of_tls_shows_its_certificate() {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(AUTHORITY)).unwrap();
        let tls = Tls::new(roots);
        assert_eq!(asked("https://dns.example/generate_204", &tls).await, Ok(204));
        let other = asked("https://other.example/generate_204", &tls).await;
        assert!(other.as_ref().is_err_and(|it| it.contains("other.example: TLS: ")), "{other:?}");
        let unknown = asked("https://dns.example/generate_204", &Tls::default()).await;
        assert!(unknown.is_err(), "its authority is not known");
    }
}
