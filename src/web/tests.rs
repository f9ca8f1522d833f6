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
            groups: vec![group("auto", Some("a")), group("all", None)],
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
            [group] if group == "auto" => vec!["a".to_owned(), "b".into(), "c".into()],
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

#[tokio::test]
async fn a_member_is_pinned_and_released() {
    let site = site();
    for (line, body, expected) in [
        ("PUT /proxies/auto", "{\"name\":\"b\"}", "204"),
        ("PUT /proxies/auto", "{\"name\":\"x\"}", "400"),
        ("DELETE /proxies/auto", "", "204"),
        ("PUT /proxies/auto", "{\"name\":7}", "400"),
        ("PUT /proxies/auto", "{}", "400"),
        ("PUT /proxies/auto", "[", "400"),
        ("PUT /proxies/nothing", "{\"name\":\"b\"}", "404"),
        ("PUT /proxies/a", "{\"name\":\"b\"}", "400"),
        ("DELETE /proxies/DIRECT", "", "400"),
        ("PUT /providers/proxies/my%20provider", "", "204"),
        ("PUT /providers/proxies/nothing", "", "404"),
        ("PATCH /configs", "{\"mode\":\"Rule\"}", "204"),
        ("PATCH /configs", "{\"mode\":\"global\"}", "400"),
        ("PATCH /configs", "{\"tun\":{\"enable\":true}}", "400"),
        ("PATCH /configs", "rule", "400"),
    ] {
        let answer = site.send(line, SECRET, body).await;
        assert_eq!(code(&answer), expected, "{line} {body}: {answer}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "b".repeat(100_000));
    assert_eq!(code(&site.send("PUT /proxies/auto", SECRET, &large).await), "400");
    let noted = site.noted.lock().unwrap();
    let done: Vec<_> = noted.iter().filter(|it| *it != "status").collect();
    assert_eq!(
        done,
        ["pin auto Some(\"b\")", "pin auto Some(\"x\")", "pin auto None", "update my provider"]
    );
}

#[tokio::test]
async fn a_test_has_the_codes_of_mihomo() {
    let site = site();
    let url = "url=https%3A%2F%2Fwww.gstatic.com%2Fgenerate_204&timeout=2000";
    for (path, expected) in [
        (format!("/proxies/a/delay?{url}"), "200"),
        (format!("/proxies/b/delay?{url}"), "504"),
        (format!("/proxies/c/delay?{url}"), "503"),
        (format!("/proxies/auto/delay?{url}"), "200"),
        (format!("/proxies/all/delay?{url}"), "200"),
        (format!("/proxies/nothing/delay?{url}"), "404"),
        (format!("/proxies/DIRECT/delay?{url}"), "503"),
        ("/proxies/a/delay?timeout=99999".into(), "400"),
        ("/proxies/a/delay?timeout=x".into(), "400"),
        ("/proxies/a/delay".into(), "200"),
        (format!("/group/auto/delay?{url}"), "200"),
        (format!("/group/a/delay?{url}"), "404"),
        (format!("/providers/proxies/my%20provider/healthcheck?{url}"), "204"),
        (format!("/providers/proxies/nothing/healthcheck?{url}"), "404"),
        (format!("/providers/proxies/my%20provider/a/healthcheck?{url}"), "200"),
    ] {
        let answer = site.ask(&format!("GET {path}"), SECRET).await;
        assert_eq!(code(&answer), expected, "{path}: {answer}");
    }
    let delays = site.ask(&format!("GET /group/auto/delay?{url}"), SECRET).await;
    assert_eq!(body(&delays), serde_json::json!({ "a": 5 }), "who fails is left out");
    let noted = site.noted.lock().unwrap();
    assert_eq!(noted.last().unwrap(), "pin auto None", "as dashboards promise");
    let first = "delays [\"a\"] Some(\"https://www.gstatic.com/generate_204\") Some(2000)";
    assert_eq!(noted[1], first);
}

/// What a page of another origin, or one that has made its name lead here, can send of itself.
#[tokio::test]
async fn a_name_that_leads_here_opens_nothing() {
    let site = site();
    for host in ["evil.example", "127.0.0.1", "localhost", "192.168.1.1:9090"] {
        for line in ["GET /version", "GET /proxies", "DELETE /connections", "POST /configs"] {
            let mut client = site.client().await;
            let text = format!(
                "{line} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
                 Cookie: token=correct+horse\r\nConnection: close\r\n\r\n"
            );
            client.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let _ = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(code(&answer), "401", "{host} {line}: {answer}");
            assert!(!answer.contains("snet"), "{answer}");
        }
    }
    assert!(site.noted.lock().unwrap().is_empty(), "{:?}", site.noted);
}

#[tokio::test]
async fn the_files_of_a_dashboard_need_no_secret_and_open_nothing_else() {
    let folder = std::env::temp_dir().join(format!("snet-web-ui-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("index.html"), "<html>".repeat(50_000)).unwrap();
    let site = site_with(PATIENCE, Some(folder.clone()));
    let page = site.ask("GET /ui/", "").await;
    assert_eq!(code(&page), "200");
    assert!(page.ends_with(&"<html>".repeat(50_000)), "{} bytes", page.len());
    assert!(!page.contains("chunked"), "its length is known");
    assert!(site.ask("HEAD /ui/", "").await.ends_with("\r\n\r\n"));
    assert_eq!(code(&site.ask("GET /", "Accept: text/html\r\n").await), "307");
    for path in ["/", "/version", "/ui/../version", "/ui/%2e%2e/version", "/uix"] {
        let answer = site.ask(&format!("GET {path}"), "").await;
        assert!(["401", "404"].contains(&code(&answer)), "{path}: {answer}");
        assert!(!answer.contains("1.2.3"), "{path}: {answer}");
    }
    assert_eq!(code(&site.ask("GET /version", SECRET).await), "200");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// One that sends nothing, or half a request, keeps a place for some seconds and no longer.
#[tokio::test]
async fn who_says_nothing_is_left() {
    let site = site_with(Duration::from_secs(1), None);
    let mut slow = Vec::new();
    for half in ["", "GET /version HTTP/1.1\r\nHost"] {
        let mut client = site.client().await;
        client.write_all(half.as_bytes()).await.unwrap();
        slow.push(client);
    }
    for mut client in slow {
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "it was left: {}", String::from_utf8_lossy(&answer));
    }
}

/// However many there are of them, who has the secret is answered, and what it has open goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_says_nothing_keeps_nobody_out() {
    const CROWD: usize = 2000;
    // Nobody of the crowd is left for its silence.
    let site = site_with(Duration::from_secs(600), None);
    let mut open = site.client().await;
    let stream = format!("GET /traffic?interval=200 HTTP/1.1\r\nHost: x\r\n{SECRET}\r\n");
    open.write_all(stream.as_bytes()).await.unwrap();
    assert!(open.read(&mut [0; 1024]).await.unwrap() > 0);
    let mut crowd = std::collections::VecDeque::new();
    for number in 0..CROWD {
        let mut client = site.client().await;
        // It may have been sent away already.
        let _ = client.write_all(b"GET /version HTTP/1.1\r\nX: ").await;
        crowd.push_back(client);
        if crowd.len() > 400 {
            crowd.pop_front();
        }
        if number % 100 == 0 {
            let asking = timeout(Duration::from_secs(20), site.ask("GET /version", SECRET)).await;
            assert_eq!(code(&asking.expect("an answer")), "200", "beside {number}");
        }
    }
    let mut heard = String::new();
    let mut buffer = [0; 1024];
    while heard.matches("downTotal").count() < 2 {
        let length = timeout(PATIENCE, open.read(&mut buffer)).await.expect("it goes on").unwrap();
        assert!(length > 0, "it was closed");
        heard.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}
