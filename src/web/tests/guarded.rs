//! Who is kept out, who is not, and what is everybody's.

use super::*;

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
