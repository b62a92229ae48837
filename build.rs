//! Leaves the unwind tables, a tenth of the binary, out of the smallest build.
//!
//! Nothing needs them: a release build aborts on a panic, and has no symbols that a backtrace
//! could show. rustc has no option for that, as the standard library comes with its own, but
//! the linker can discard them: lld and GNU ld understand the script. Some other linkers do
//! not, so it is kept to this one build.

use std::path::Path;
use std::{env, fs};

const SCRIPT: &str = "\
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } }
INSERT AFTER .rodata;
";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|it| it == value);
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    let is_smallest = !["CLIENT", "MANUAL", "STRESS"].into_iter().any(has);
    // The profile `release`: cargo tells a build script that of `checked`, too.
    let is_released = is("PROFILE", "release") && is("OPT_LEVEL", "s");
    if is_smallest && is_released && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = env::var("OUT_DIR").expect("cargo sets it");
        let script = Path::new(&folder).join("no_unwind_tables.ld");
        fs::write(&script, SCRIPT).expect("cargo has made the folder");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
}
