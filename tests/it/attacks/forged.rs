//! Headers that say whose request it is, from somebody who has no business to.

use super::target::{Target, status};
use super::watch::Watch;

#[tokio::test]
async fn nobody_gets_another_limit_by_another_forwarding_header() {
    let target = Target::start(&["limits.policies.default.quota=5000"]).await;
    let watch = Watch::begin(&target);
    let mut refused = 0;
    let requests: String = (0..6_000)
        .map(|n| {
            let address = format!("198.51.{}.{}", n / 250, n % 250);
            let close = if n == 5_999 { "Connection: close\r\n" } else { "" };
            format!(
                "GET /api/v1/personas/guide HTTP/1.1\r\nHost: a\r\n{close}X-Forwarded-For: {address}\r\nForwarded: for={address}\r\nX-Real-IP: {address}\r\n\r\n"
            )
        })
        .collect();
    let mut stream = target.attacker().await;
    let (mut reading, mut writing) = stream.split();
    let mut all = Vec::new();
    let (_, read) = tokio::join!(
        tokio::io::AsyncWriteExt::write_all(&mut writing, requests.as_bytes()),
        tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut all)
    );
    read.unwrap();
    assert_eq!(status(&all), 200);
    let text = String::from_utf8_lossy(&all);
    refused += text.matches("HTTP/1.1 429").count();
    assert_eq!(refused, 1_000, "as if they had said nothing");
    assert!(target.metric("forwarded_headers_ignored_total").await >= 6_000.0);
    watch
        .ends("forged forwarding headers, 6,000 addresses", "one client: 1,000 of 6,000 refused (429)", 100)
        .await;
}
