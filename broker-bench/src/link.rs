//! One connection under load: a non-blocking socket, what is still to be written, and the producer or consumer behind it.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    client::close_frame,
    consumer::Consumer,
    producer::Producer,
    score::Score,
    wire::{CHANNEL_CLOSE, CONNECTION_CLOSE, CONNECTION_CLOSE_OK, Frame, read_close, split_frame},
};

/// How long a broker may take to answer connection.close. What it has not yet read comes first.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) enum Role {
    Producer(Producer),
    Consumer(Consumer),
}

#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    frame_max: u32,
    /// The beginning of a frame that has not arrived whole.
    partial: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are written.
    written: usize,
    /// As far as known: epoll tells of changes only.
    readable: bool,
    writable: bool,
    pub(crate) role: Role,
}

impl Link {
    /// Takes over a connection, what was read from it already, and what is to be written first.
    pub(crate) fn new(
        stream: TcpStream,
        received: Vec<u8>,
        frame_max: u32,
        role: Role,
        output: Vec<u8>,
    ) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, frame_max, partial: received, output, written: 0, readable: true, writable: true, role })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes over what epoll has said.
    pub(crate) fn wake(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// True if everything was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether there is something to do without waiting for the socket.
    pub(crate) fn is_runnable(&self, now_us: u64) -> bool {
        let has_output = match &self.role {
            Role::Producer(producer) => producer.wakes_at_us().is_some_and(|due_us| due_us <= now_us),
            Role::Consumer(_) => false,
        };
        self.readable || self.writable && (has_output || !self.is_flushed())
    }

    /// Reads once into `buffer`, which is shared by all connections and larger than any frame, and handles every whole frame.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now_us: impl Fn() -> u64, score: &mut Score) -> Result<()> {
        if !self.readable {
            return Ok(());
        }
        let held = self.partial.len();
        buffer[..held].copy_from_slice(&self.partial);
        let read = match self.stream.read(&mut buffer[held..]) {
            Ok(0) => bail!("the broker closed the connection"),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(());
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e).context("the connection failed"),
        };
        self.readable = held + read == buffer.len();
        self.handle(&buffer[..held + read], now_us(), score)
    }

    fn handle(&mut self, input: &[u8], now_us: u64, score: &mut Score) -> Result<()> {
        let mut rest = input;
        while let Some((frame, after)) = split_frame(rest, self.frame_max)? {
            rest = after;
            if let Frame::Method(CONNECTION_CLOSE | CHANNEL_CLOSE, arguments) = frame {
                return Err(read_close(arguments));
            }
            match &mut self.role {
                Role::Producer(producer) => producer.handle_frame(frame, now_us, score)?,
                Role::Consumer(consumer) => consumer.handle_frame(frame, now_us, &mut self.output, score)?,
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Lets a producer add what it may send, and writes once.
    pub(crate) fn write(&mut self, now_us: u64, score: &mut Score) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        if let Role::Producer(producer) = &mut self.role
            && self.output.is_empty()
        {
            producer.fill(now_us, &mut self.output, score);
        }
        if self.output.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.output[self.written..]) {
            Ok(written) => self.written += written,
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.writable = false,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(self.failed_write(e, score)),
        }
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// A broker that closes a connection says why before it stops reading.
    fn failed_write(&mut self, error: std::io::Error, score: &mut Score) -> anyhow::Error {
        let mut last_words = vec![0; 64 * 1024];
        let held = self.partial.len().min(last_words.len());
        last_words[..held].copy_from_slice(&self.partial[..held]);
        let read = self.stream.read(&mut last_words[held..]).unwrap_or(0);
        match self.handle(&last_words[..held + read], 0, score) {
            Err(reason) => reason,
            Ok(()) => anyhow::Error::new(error).context("the connection failed"),
        }
    }

    /// Acknowledges what is left, and sends connection.close after everything else.
    pub(crate) fn begin_close(&mut self) -> Result<()> {
        if let Role::Consumer(consumer) = &mut self.role {
            consumer.finish(&mut self.output);
        }
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(CLOSE_TIMEOUT))?;
        self.stream.set_write_timeout(Some(CLOSE_TIMEOUT))?;
        self.output.extend_from_slice(&close_frame()?);
        let (_, rest) = self.output.split_at(self.written);
        self.stream.write_all(rest).context("the connection failed while it was closed")
    }

    /// Waits for connection.close-ok, whatever else the broker sends before.
    pub(crate) fn end_close(&mut self, buffer: &mut [u8]) -> Result<()> {
        loop {
            let held = self.partial.len();
            buffer[..held].copy_from_slice(&self.partial);
            let read = self.stream.read(&mut buffer[held..]).context("connection.close was not answered")?;
            let mut rest = &buffer[..held + read];
            while let Some((frame, after)) = split_frame(rest, self.frame_max)? {
                rest = after;
                if matches!(frame, Frame::Method(CONNECTION_CLOSE_OK, _)) {
                    return Ok(());
                }
            }
            ensure!(read > 0, "the broker ended the connection without connection.close-ok");
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }
}
