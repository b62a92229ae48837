//! Leaves the unwind tables, some 6% of the binary, out of a release build; and builds what other
//! systems than Linux get, if asked to (`CHAT_PORTABLE=1`).
//!
//! Nothing needs them: a release build aborts on a panic, and has no symbols that a backtrace
//! could show. rustc has no option for that, as the standard library comes with its own, but
//! the linker can discard them: lld and GNU ld, which Rust takes by default, understand the
//! script, also where they are asked for to build for another machine. Where another linker is,
//! the tables stay.

use std::path::Path;
use std::{env, fs};

const SCRIPT: &str = "\
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } }
INSERT AFTER .rodata;
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CHAT_PORTABLE");
    println!("cargo::rustc-check-cfg=cfg(portable)");
    if env::var_os("CHAT_PORTABLE").is_some() {
        println!("cargo::rustc-cfg=portable");
    }
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "gcc".to_owned());
    let is_lld = linker.ends_with("rust-lld");
    let is_usual_linker = (is_lld || linker.ends_with("gcc")) && !flags.contains("fuse-ld");
    // The profile `release`: cargo tells a build script that of `checked`, too.
    let is_released = is("PROFILE", "release") && is("OPT_LEVEL", "s");
    if is_usual_linker && is_released && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = env::var("OUT_DIR").expect("cargo sets it");
        let script = Path::new(&folder).join("no_unwind_tables.ld");
        fs::write(&script, SCRIPT).expect("cargo has made the folder");
        // gcc hands it on.
        let option = if is_lld { "-T" } else { "-Wl,-T," };
        println!("cargo::rustc-link-arg-bins={option}{}", script.display());
    }
}
