//! Requests that two readers would read differently.

use super::target::{Target, status};
use super::watch::Watch;

const HIDDEN: &str = "GET /version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// How often the server answered, and how at first. A request of our own, hidden in the other's body, must never be one
/// of them where the server has read it as a body, and the connection must end where it has not.
async fn answers(target: &Target, request: &str) -> (usize, u16) {
    let told = target.told(request.as_bytes()).await;
    (String::from_utf8_lossy(&told).matches("HTTP/1.1 ").count(), status(&told))
}

fn post(lines: &str, body: &str) -> String {
    format!("POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{lines}\r\n{body}")
}

#[tokio::test]
async fn what_can_be_read_two_ways_is_refused_and_ends_the_connection() {
    let target = Target::start(&[]).await;
    let watch = Watch::begin(&target);
    let get = |lines: &str| format!("GET /version HTTP/1.1\r\n{lines}\r\n\r\n{HIDDEN}");
    let refused = [
        ("two lengths", post("Content-Length: 4\r\nContent-Length: 90\r\n", HIDDEN)),
        ("a length with a sign", post("Content-Length: +4\r\n", HIDDEN)),
        ("a list of lengths", post("Content-Length: 4, 90\r\n", HIDDEN)),
        ("an unknown coding", post("Transfer-Encoding: xchunked\r\n", HIDDEN)),
        ("chunked, but not at the end", post("Transfer-Encoding: chunked, identity\r\n", HIDDEN)),
        ("white space before the colon", post("Transfer-Encoding : chunked\r\n", HIDDEN)),
        ("a folded line", post("Transfer-Encoding:\r\n chunked\r\n", HIDDEN)),
        (
            "chunked in 1.0",
            post("Transfer-Encoding: chunked\r\n", HIDDEN)
                .replace("HTTP/1.1\r\nHost: a\r\nContent-Type", "HTTP/1.0\r\nHost: a\r\nContent-Type"),
        ),
        (
            "a chunk too large to count",
            post("Transfer-Encoding: chunked\r\n", &format!("fffffffffffffffff\r\n{HIDDEN}")),
        ),
        (
            "a chunk with a sign",
            post("Transfer-Encoding: chunked\r\n", &format!("+4\r\n1234\r\n0\r\n\r\n{HIDDEN}")),
        ),
        ("two hosts", get("Host: a\r\nHost: b")),
        ("no host", get("Accept: */*")),
        ("a bare carriage return", get("Host: a\r\nX: b\rX-Y: c")),
        ("a nul", get("Host: a\r\nX: b\0c")),
    ];
    for (shape, request) in &refused {
        let (count, status) = answers(&target, request).await;
        assert!(count <= 1 && [0, 400, 408].contains(&status), "{shape}: {count} answers, first {status}");
    }
    watch.ends(&format!("request smuggling, {} shapes", refused.len()), "400, connection closed", 50).await;
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let target = Target::start(&[]).await;
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ] {
        let (count, status) = answers(&target, &post(lines, &format!("0\r\n\r\n{HIDDEN}"))).await;
        assert_eq!((count, status), (1, 400), "{lines}");
    }
}

#[tokio::test]
async fn an_absolute_address_is_taken_by_its_path_alone() {
    let target = Target::start(&[]).await;
    let request = HIDDEN.replace("GET /version", "GET http://internal.example/version");
    assert_eq!(answers(&target, &request).await, (1, 200));
    let (count, status) =
        answers(&target, &HIDDEN.replace("GET /version", "CONNECT internal.example:443")).await;
    assert!(count == 1 && (400..500).contains(&status), "{status}");
}
