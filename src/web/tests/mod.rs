//! The server on loopback, asked as dashboards ask.

use super::*;
use crate::log::{CONNECTIONS, Log, LogSettings};
use crate::net::listen;
use crate::view::{GroupView, ProxyView, SubscriptionView};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

mod choices;
mod guarded;

/// A daemon that notes what it is asked to do.
struct Noting {
    noted: Arc<Mutex<Vec<String>>>,
    log: Log,
}

impl Noting {
    fn note(&self, what: String) {
        self.noted.lock().unwrap().push(what);
    }
}

impl Insight for Noting {
    fn status(&self) -> Told<'_, Option<StatusView>> {
        self.note("status".into());
        // Somebody pins another member while this one is tested.
        let was_tested =
            self.noted.lock().unwrap().iter().any(|it| it.starts_with("delays [\"other"));
        let other = Some(if was_tested { "b" } else { "a" });
        let proxy = |name: &str| ProxyView { name: name.into(), ..ProxyView::default() };
        let group = |name: &str, now: Option<&str>| GroupView {
            name: name.into(),
            members: vec!["a".into(), "b".into(), "c".into()],
            now: now.map(str::to_owned),
            pinned: now.map(str::to_owned),
            ..GroupView::default()
        };
        let subscription = SubscriptionView {
            name: "my provider".into(),
            proxies: vec!["c".into()],
            ..SubscriptionView::default()
        };
        let status = StatusView {
            version: "1.2.3".into(),
            proxies: ["a", "b", "c"].map(proxy).into(),
            groups: vec![group("auto", Some("a")), group("all", None), group("other", other)],
            subscriptions: vec![subscription],
            ..StatusView::default()
        };
        Box::pin(async { Some(status) })
    }

    fn flows(&self) -> Vec<FlowView> {
        Vec::new()
    }

    fn rules(&self) -> Told<'_, Option<Vec<RuleView>>> {
        Box::pin(async { Some(Vec::new()) })
    }

    fn explain(&self, _: &str) -> Told<'_, Option<ExplainView>> {
        Box::pin(async { None })
    }

    fn follow(&self, level: LogLevel) -> LogFollower {
        self.log.follow(level)
    }

    fn close(&self, id: Option<u64>) {
        self.note(format!("close {id:?}"));
    }

    fn reload(&self) -> Told<'_, Result<(), String>> {
        self.note("reload".into());
        Box::pin(async { Err("nothing has changed".into()) })
    }

    fn pin<'a>(&'a self, group: &'a str, member: Option<&'a str>) -> Told<'a, Result<(), String>> {
        self.note(format!("pin {group} {member:?}"));
        let result = if member == Some("x") { Err("accepted: a".into()) } else { Ok(()) };
        Box::pin(async { result })
    }

    fn delays(&self, ask: DelayAsk) -> Told<'_, Result<Vec<DelayView>, String>> {
        self.note(format!("delays {:?} {:?} {:?}", ask.names, ask.url, ask.timeout));
        let view = |name: &str, delay_ms, is_late| DelayView {
            name: name.into(),
            delay_ms,
            why: Some("why".into()),
            is_late,
        };
        let names = match &ask.names[..] {
            [group] if ["auto", "other"].contains(&group.as_str()) => {
                vec!["a".to_owned(), "b".into(), "c".into()]
            }
            names => names.to_vec(),
        };
        let views = names.iter().map(|name| match name.as_str() {
            "a" => view(name, Some(5), false),
            "b" => view(name, None, true),
            _ => view(name, None, false),
        });
        let result =
            if ask.timeout == Some(99_999) { Err("too long".into()) } else { Ok(views.collect()) };
        Box::pin(async { result })
    }

    fn update<'a>(&'a self, subscription: &'a str) -> Told<'a, Result<(), String>> {
        self.note(format!("update {subscription}"));
        Box::pin(async { Ok(()) })
    }
}

struct Site {
    address: SocketAddr,
    noted: Arc<Mutex<Vec<String>>>,
    stop: watch::Sender<bool>,
    _logging: tracing::subscriber::DefaultGuard,
}

fn site() -> Site {
    site_with(PATIENCE, None)
}

fn site_with(patience: Duration, ui: Option<PathBuf>) -> Site {
    let (log, logging) = Log::of_this_thread(LogSettings::default());
    let noted = Arc::default();
    let noting = Noting { noted: Arc::clone(&noted), log };
    let web = Web::new(Box::new(noting), Secret::new("correct horse")).beside(ui);
    let web = Arc::new(Web { patience, ..web });
    let listener = listen::tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(web.serve(listener, stopped));
    Site { address, noted, stop, _logging: logging }
}

const SECRET: &str = "Authorization: Bearer correct horse\r\n";

impl Site {
    async fn client(&self) -> TcpStream {
        use crate::mark::Fwmark;
        use crate::net::{Outbound, Refusal};
        let outbound = Outbound::new(Fwmark::SNET, Refusal::Harmless);
        outbound.tcp(&[self.address]).await.unwrap()
    }

    /// The whole answer to one request.
    async fn ask(&self, line: &str, headers: &str) -> String {
        self.send(line, headers, "").await
    }

    /// The same with a body.
    async fn send(&self, line: &str, headers: &str, body: &str) -> String {
        let mut client = self.client().await;
        let length = body.len();
        let text = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {headers}\r\n{body}"
        );
        client.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // What is refused early may be reset behind its answer.
        let _ = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        String::from_utf8(answer).unwrap()
    }
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn nothing_is_told_or_done_without_the_secret() {
    let site = site();
    let paths = ["/", "/version", "/proxies", "/metrics", "/stats", "/connections", "/nowhere"];
    for path in paths {
        for headers in ["", "Authorization: Bearer correct\r\n", "Authorization: correct horse\r\n"]
        {
            let answer = site.ask(&format!("GET {path}?token=correct+horse"), headers).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {headers}: {answer}");
            assert_eq!(body(&answer)["message"], "Unauthorized");
        }
    }
    for line in ["DELETE /connections", "DELETE /connections/7", "PUT /configs", "PUT /proxies/a"] {
        let answer = site.ask(line, "Origin: http://evil.example\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{line}: {answer}");
    }
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n";
    let answer = site.ask("GET /traffic?token=wrong", upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(site.noted.lock().unwrap().is_empty(), "{:?}", site.noted);
}

#[tokio::test]
async fn who_has_the_secret_sees_and_does() {
    let site = site();
    let version = site.ask("GET /version", SECRET).await;
    assert!(version.starts_with("HTTP/1.1 200 ") && version.contains("no-store"), "{version}");
    assert_eq!(body(&version)["version"], "snet 1.2.3");
    for (path, field) in [
        ("/configs", "mode"),
        ("/proxies", "proxies"),
        ("/providers/proxies", "providers"),
        ("/providers/rules", "providers"),
        ("/rules", "rules"),
        ("/connections", "connections"),
        ("/group", "proxies"),
        ("/stats", "Hosts"),
    ] {
        let answer = site.ask(&format!("GET {path}"), SECRET).await;
        assert!(body(&answer).get(field).is_some(), "{path}: {answer}");
    }
    let metrics = site.ask("GET /metrics", SECRET).await;
    assert!(metrics.contains("application/openmetrics-text; version=1.0.0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
    assert!(site.ask("GET /nowhere", SECRET).await.starts_with("HTTP/1.1 404 "));
    assert!(site.ask("POST /rules", SECRET).await.starts_with("HTTP/1.1 405 "));
    site.noted.lock().unwrap().clear();
    assert!(site.ask("DELETE /connections/7", SECRET).await.starts_with("HTTP/1.1 204 "));
    assert!(site.ask("DELETE /connections", SECRET).await.starts_with("HTTP/1.1 204 "));
    let reload = site.ask("PUT /configs", SECRET).await;
    assert!(reload.starts_with("HTTP/1.1 400 "), "{reload}");
    assert_eq!(body(&reload)["message"], "nothing has changed");
    assert_eq!(*site.noted.lock().unwrap(), ["close Some(7)", "close None", "reload"]);
}

/// A browser asks first, without the secret, and is told nothing but that a page may ask.
#[tokio::test]
async fn a_page_of_another_origin_may_ask_with_the_secret() {
    let site = site();
    let asks = "Origin: http://board.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    let answer = site.ask("OPTIONS /connections", asks).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    for header in ["origin: *", "methods: delete", "headers: authorization, content-type"] {
        assert!(answer.contains(&format!("access-control-allow-{header}\r\n")), "{answer}");
    }
    assert!(site.noted.lock().unwrap().is_empty());
    let same = site.ask("GET /version", SECRET).await.to_ascii_lowercase();
    assert!(!same.contains("access-control"), "{same}");
}

#[tokio::test]
async fn a_stream_comes_in_chunks_and_in_a_socket() {
    let site = site();
    let mut client = site.client().await;
    let plain = format!("GET /traffic?interval=200 HTTP/1.1\r\nHost: x\r\n{SECRET}\r\n");
    client.write_all(plain.as_bytes()).await.unwrap();
    let mut heard = String::new();
    let mut buffer = [0; 1024];
    while heard.matches("\"downTotal\":0").count() < 2 {
        let length = client.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{heard}");
        heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    assert!(heard.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{heard}");

    let mut client = site.client().await;
    let upgrade = "GET /connections?token=correct+horse&interval=200 HTTP/1.1\r\nHost: x\r\n\
                   Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    let is_whole =
        |heard: &[u8]| String::from_utf8_lossy(heard).matches("\"connections\":[]").count() >= 2;
    while !is_whole(&heard) {
        let length = client.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&heard);
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
    // The client closes (RFC 6455, 5.5.1), masked, and the server answers and ends.
    client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    ended.expect("an end").unwrap();
    assert_eq!(rest[rest.len() - 2..], [0x88, 0], "{rest:?}");
    site.stop.send_replace(true);
}

/// What a plain client is sent, until it contains that.
async fn heard_until(client: &mut TcpStream, heard: &mut String, text: &str) {
    let mut buffer = [0; 1024];
    while !heard.contains(text) {
        let length = timeout(PATIENCE, client.read(&mut buffer)).await.expect(text).unwrap();
        assert!(length > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

/// A line that comes before the follower is lost on it, so they come until one is heard.
async fn logged_until<T>(line: impl Fn(), heard: impl Future<Output = T>) -> T {
    let mut heard = std::pin::pin!(heard);
    loop {
        line();
        if let Ok(heard) = timeout(Duration::from_millis(20), &mut heard).await {
            return heard;
        }
    }
}

#[tokio::test]
async fn the_log_is_followed_with_connections_and_without_what_nobody_asked_for() {
    let site = site();
    let line = || {
        tracing::debug!("detail");
        tracing::info!(target: CONNECTIONS, proxy = "tokyo", "closed");
    };
    let mut client = site.client().await;
    let plain = format!("GET /logs HTTP/1.1\r\nHost: x\r\n{SECRET}\r\n");
    client.write_all(plain.as_bytes()).await.unwrap();
    let early = timeout(Duration::from_millis(100), client.read(&mut [0; 9])).await;
    assert!(early.is_err(), "nothing comes before the first line");
    let mut heard = String::new();
    let payload = r#"{"payload":"closed proxy=\"tokyo\"","type":"info"}"#;
    logged_until(line, heard_until(&mut client, &mut heard, payload)).await;
    assert!(heard.starts_with("HTTP/1.1 200 ") && !heard.contains("detail"), "{heard}");

    let mut client = site.client().await;
    let upgrade = "GET /logs?level=debug&token=correct+horse HTTP/1.1\r\nHost: x\r\n\
                   Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(upgrade.as_bytes()).await.unwrap();
    let mut heard = String::new();
    let payload = r#"{"payload":"detail","type":"debug"}"#;
    logged_until(line, heard_until(&mut client, &mut heard, payload)).await;
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");

    assert!(site.ask("GET /logs?level=loud", SECRET).await.starts_with("HTTP/1.1 400 "));
    assert!(site.ask("GET /logs?token=wrong", "").await.starts_with("HTTP/1.1 401 "));
}

/// The status of an answer.
fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}
