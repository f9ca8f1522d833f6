//! What a dashboard chooses and tests.

use super::*;

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
    assert_eq!(code(&site.ask(&format!("GET /group/other/delay?{url}"), SECRET).await), "200");
    let noted = site.noted.lock().unwrap();
    let pins: Vec<_> = noted.iter().filter(|it| it.starts_with("pin ")).collect();
    assert_eq!(pins, ["pin auto None"; 2], "as dashboards promise; a pin of that time stays");
    let first = "delays [\"a\"] Some(\"https://www.gstatic.com/generate_204\") Some(2000)";
    assert_eq!(noted[1], first);
}
