//! Answers nobody would write: whatever an upstream sends, a question ends, in text that came or in an error of ours.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_util::StreamExt as _;
use polylogue::llm::{ChatModel as _, Chunk};

use super::{openai, request, settings};

#[path = "../../../fuzz/mod.rs"]
mod fuzz;

/// An upstream that answers every request with the bytes of this moment, and hangs up.
fn upstream() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, bytes) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let answer = Arc::clone(&bytes);
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, mut asked) = (connection.unwrap(), [0; 8192]);
            let _ = connection.read(&mut asked);
            let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let _ = connection.write_all(&answer);
        }
    });
    (address, bytes)
}

/// The input is a whole HTTP answer, from its first byte.
#[test]
fn fuzz_upstream_streams() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (address, bytes) = upstream();
    let model = openai("fuzzed", address, &settings());
    fuzz::run("upstream_streams", |input| {
        *bytes.lock().unwrap_or_else(PoisonError::into_inner) = input.to_vec();
        runtime.block_on(async {
            let Ok(mut stream) = model.stream(request()).await else { return };
            let (mut text, mut is_over) = (0, false);
            while let Some(chunk) = stream.next().await {
                assert!(!is_over, "nothing follows the end");
                match chunk {
                    Ok(Chunk::Text(piece)) => text += piece.len(),
                    Ok(Chunk::End(_)) | Err(_) => is_over = true,
                }
            }
            assert!(is_over && text <= input.len());
        });
    });
}
