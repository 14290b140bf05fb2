//! As much of the Redis protocol as a test needs.

use std::io;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};

/// What Redis answers: a value, or an error in its words.
pub type Reply = Result<Value, String>;

/// Sends one command and reads what is answered.
pub async fn ask<S>(stream: &mut S, command: &[&str]) -> io::Result<Reply>
where
    S: AsyncBufRead + AsyncWrite + Unpin + Send,
{
    let mut bytes = format!("*{}\r\n", command.len());
    for word in command {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(bytes.as_bytes()).await?;
    stream.flush().await?;
    read(stream).await
}

fn read<S: AsyncBufRead + AsyncRead + Unpin + Send>(stream: &mut S) -> BoxFuture<'_, io::Result<Reply>> {
    async move {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(io::ErrorKind::UnexpectedEof)?;
        let number = || rest.parse::<i64>().map_err(|_| io::ErrorKind::InvalidData);
        Ok(match kind {
            "-" => Err(rest.to_owned()),
            ":" => Ok(number()?.into()),
            "$" => Ok(bulk(stream, number()?).await?),
            "*" => Ok(array(stream, number()?).await?),
            _ => Ok(rest.into()),
        })
    }
    .boxed()
}

async fn bulk<S: AsyncRead + Unpin>(stream: &mut S, length: i64) -> io::Result<Value> {
    let Ok(length) = usize::try_from(length) else { return Ok(Value::Null) };
    let mut bytes = vec![0; length + 2];
    stream.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into())
}

async fn array<S: AsyncBufRead + Unpin + Send>(stream: &mut S, length: i64) -> io::Result<Value> {
    let mut all = Vec::new();
    for _ in 0..length {
        all.push(read(stream).await?.unwrap_or_else(|error| format!("-{error}").into()));
    }
    Ok(all.into())
}

/// A value as a test likes to compare it: texts and numbers as they are, the rest as JSON.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a message of this protocol, in either direction, can begin like this; TLS does not.
pub fn is_message(first: u8) -> bool {
    b"+-:$*_#,(!=%~>|".contains(&first)
}

/// The length of the first message in these bytes, in either direction, if it is whole.
pub fn message_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let count: Option<usize> =
        std::str::from_utf8(&bytes[1..line - 2]).ok().and_then(|text| text.parse().ok());
    let members = match (bytes[0], count) {
        (b'$' | b'!' | b'=', Some(length)) => {
            let whole = line + length + 2;
            return (bytes.len() >= whole).then_some(whole);
        }
        (b'*' | b'~' | b'>', Some(count)) => count,
        (b'%', Some(count)) => count * 2,
        // An attribute comes before what it is about.
        (b'|', Some(count)) => count * 2 + 1,
        _ => 0,
    };
    (0..members).try_fold(line, |place, _| Some(place + message_length(bytes.get(place..)?)?))
}

#[test]
fn messages_are_cut_where_they_end() {
    let whole: [&[u8]; 7] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"$5\r\nab\r\nc\r\n",
        b"$-1\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:7\r\n",
        b"%1\r\n+a\r\n_\r\n",
        b">2\r\n+a\r\n$0\r\n\r\n",
    ];
    for message in whole {
        assert_eq!(message_length(&[message, b"+more\r\n"].concat()), Some(message.len()));
        for part in 1..message.len() {
            assert_eq!(message_length(&message[..part]), None, "{part} of {message:?}");
        }
    }
    assert!(!is_message(b"\x16\x03\x01"[0]), "TLS is passed as it comes");
}
