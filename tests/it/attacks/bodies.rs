//! Bodies that are more than they should be.

use super::target::{Target, status};
use super::watch::Watch;

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn answered(target: &Target, request: &[u8], times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(status(&target.told(request).await));
    }
    statuses
}

#[tokio::test]
async fn deep_and_wide_json_is_refused() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let deep = "[".repeat(500_000);
    let deep_value = format!("{{\"message\":{}", "{\"a\":".repeat(100_000));
    let wide = format!("[{}0]", "0,".repeat(200_000));
    let members: String = (0..30_000).map(|n| format!("\"k{n}\":0,")).collect();
    let members = format!("{{{members}\"message\":\"x\"}}");
    let number = format!("{{\"message\":1{}}}", "0".repeat(400_000));
    for body in [deep, deep_value, wide, members, number] {
        let refused = answered(&target, &post("", body.as_bytes()), 20).await;
        assert!(refused.iter().all(|status| *status == 400), "{refused:?}: {}", &body[..20]);
    }
    watch.ends("nested, wide and huge JSON, 100 bodies of 0.5 MiB", "400", 300).await;
}

#[tokio::test]
async fn oversized_bodies_are_refused_however_they_are_announced() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let refused = answered(&target, &post("", &vec![b' '; 4 << 20]), 20).await;
    assert!(refused.iter().all(|status| *status == 413), "{refused:?}");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let endless = format!(
        "POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(64)
    );
    let refused = answered(&target, endless.as_bytes(), 20).await;
    assert!(refused.iter().all(|status| *status == 413), "{refused:?}");
    watch.ends("oversized bodies, 40 of 4 MiB", "413", 100).await;
}

#[tokio::test]
async fn compressed_bodies_are_not_opened() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    for coding in ["gzip", "br", "deflate", "zstd", "gzip, gzip", "x"] {
        // What it holds does not matter: nobody looks.
        let bomb = post(&format!("Content-Encoding: {coding}\r\n"), &[0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3]);
        let refused = answered(&target, &bomb, 20).await;
        assert!(refused.iter().all(|status| *status == 415), "{coding}: {refused:?}");
    }
    watch.ends("compression bombs, 120", "415, never opened", 50).await;
}
