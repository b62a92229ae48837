//! The client gives up on a silent server, not on a slow one; and it waits for a slow reader of
//! its output.

use std::io::{Seek, Write};
use std::ops::Range;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::flood::{OVER_KERNEL_BUFFERS, long_line};
use crate::common::peer::{WELCOME, client_of_the_test, client_of_the_test_with_output};

/// Longer than the client waits for a silent server after the end of input.
const PAUSE: Duration = Duration::from_secs(4);

/// Long lines that exceed the 128 KiB the kernel buffers for a program that does not read
/// (`tcp_rmem`), but not the 4 MiB it buffers for the sender (`tcp_wmem`).
const WITHIN_KERNEL_BUFFERS: Range<usize> = 0..500;

/// Whether the lines wait in the kernel or, once that is full, in the client.
#[test]
fn a_server_that_reads_late_gets_everything() {
    let clients = [WITHIN_KERNEL_BUFFERS, OVER_KERNEL_BUFFERS].map(|lines| {
        let typed: String = lines.map(|number| long_line(number) + "\n").collect();
        let mut input = tempfile::tempfile().expect("a temporary file");
        input.write_all(typed.as_bytes()).expect("room for a file");
        input.rewind().expect("a regular file");
        let (server, client) = client_of_the_test_with_output(input, Stdio::null());
        server.send(WELCOME);
        (typed, server, client)
    });
    let pause_ends = Instant::now() + PAUSE;
    for (typed, mut server, mut client) in clients {
        client.expect_to_run_until(pause_ends);
        let received = server.rest();
        assert!(
            received == typed,
            "{} of {} bytes",
            received.len(),
            typed.len()
        );
        drop(server);
        client.stderr().expect_end();
        assert_eq!(client.exit_code(), 0);
    }
}

#[test]
fn an_output_that_is_read_late_misses_nothing() {
    let (mut server, mut client) = client_of_the_test(Stdio::null());
    server.send(WELCOME);
    server.expect_end();
    client.stdout().expect_line(WELCOME);
    for number in WITHIN_KERNEL_BUFFERS {
        server.say(&long_line(number));
    }
    client.expect_to_run_until(Instant::now() + PAUSE);
    for number in WITHIN_KERNEL_BUFFERS {
        client.stdout().expect_line(&long_line(number));
    }
    // The server has not closed its side: its silence counts only from now on.
    client.stdout().expect_end();
    client.stderr().expect_end();
    assert_eq!(client.exit_code(), 0);
}
