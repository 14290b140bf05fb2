//! Server-sent events, as they come off the wire.

use std::borrow::Cow;

use memchr::memchr;

/// An event above this is a fault of the stream.
const MAX_PENDING: usize = 16 << 20;

/// Takes bytes as they come and gives events when they are whole.
#[derive(Default)]
pub struct SseReader {
    bytes: Vec<u8>,
    begin: usize,
    scanned: usize,
}

/// One event. Comments and `retry` are not events.
#[derive(Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `id` line.
    pub id: Option<&'a [u8]>,
    /// The `event` line.
    pub event: Option<&'a [u8]>,
    /// The `data` lines.
    pub data: Cow<'a, [u8]>,
}

impl SseReader {
    /// Takes what came; whether it can still become an event.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        if self.begin == self.bytes.len() {
            self.bytes.clear();
        } else if self.begin > 0 {
            self.bytes.drain(..self.begin);
        }
        self.scanned -= self.begin.min(self.scanned);
        self.begin = 0;
        self.bytes.extend_from_slice(bytes);
        self.bytes.len() <= MAX_PENDING
    }

    /// The next whole event.
    pub fn next_event(&mut self) -> Option<SseEvent<'_>> {
        loop {
            let (from, to) = (self.begin, self.block_end()?);
            (self.begin, self.scanned) = (to, to);
            if has_data(&self.bytes[from..to]) {
                return Some(event(&self.bytes[from..to]));
            }
        }
    }

    /// Whether a piece of an event is left over.
    pub fn is_midway(&self) -> bool {
        self.bytes[self.begin..].iter().any(|byte| !byte.is_ascii_whitespace())
    }

    /// Where the block ends that begins at `begin`: after its first empty line.
    fn block_end(&mut self) -> Option<usize> {
        loop {
            let line_end = self.scanned + memchr(b'\n', &self.bytes[self.scanned..])?;
            let line = &self.bytes[self.scanned..line_end];
            self.scanned = line_end + 1;
            if line.is_empty() || line == b"\r" {
                return Some(self.scanned);
            }
        }
    }
}

fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = memchr(b':', line)?;
        let value = &line[colon + 1..];
        Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)))
    })
}

fn has_data(block: &[u8]) -> bool {
    lines(block).any(|(name, _)| name == b"data")
}

fn event(block: &[u8]) -> SseEvent<'_> {
    let mut found = SseEvent { id: None, event: None, data: Cow::Borrowed(&[]) };
    for (name, value) in lines(block) {
        match name {
            b"id" => found.id = Some(value),
            b"event" => found.event = Some(value),
            b"data" if found.data.is_empty() => found.data = Cow::Borrowed(value),
            b"data" => {
                let data = found.data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"retry: 2000\n: ok\n\nid: 1-1\nevent: turn.started\ndata: {}\n\n: keep-alive\n\ndata: a\r\ndata: b\r\n\r\n";

    fn read(pieces: impl Iterator<Item = &'static [u8]>) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let mut reader = SseReader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            assert!(reader.feed(piece));
            while let Some(event) = reader.next_event() {
                seen.push((event.id.map(<[u8]>::to_vec), event.data.to_vec()));
            }
        }
        assert!(!reader.is_midway());
        seen
    }

    #[test]
    fn the_pieces_a_stream_comes_in_make_no_difference() {
        let whole = read([STREAM].into_iter());
        assert_eq!(whole, [(Some(b"1-1".to_vec()), b"{}".to_vec()), (None, b"a\nb".to_vec())]);
        for size in 1..STREAM.len() {
            assert_eq!(read(STREAM.chunks(size)), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_piece_of_an_event_that_is_left_over_is_seen() {
        let mut reader = SseReader::default();
        assert!(reader.feed(b"data: 1\n\ndata: 2\n"));
        assert!(reader.next_event().is_some());
        assert!(reader.next_event().is_none() && reader.is_midway());
    }
}
