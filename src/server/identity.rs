//! Who the server is: a key, and a certificate that carries it.
//!
//! Unless the host has its own, both are made at the first start and kept. Guests know the room
//! by its key (`protocol::tls`), which never changes by itself. The certificate is made again,
//! with the same key, when it would not do any more for those who look at its names and dates, as
//! browsers do.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use log::{info, warn};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use rustix::system::uname;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::Error;
use crate::platform::addresses::{addresses, is_local};
use crate::platform::random::random_bits;
use crate::platform::secret_file::{open_regular, open_secret};
use crate::platform::state::{PRIVATE, make_folder, replace, user_folder, write_beside};
use crate::protocol::base64;
use crate::protocol::time::Time;
use crate::protocol::tls::{Fingerprint, provider, server_config};

/// How long a certificate is valid: longer ones are refused by some devices.
const VALID_DAYS: u64 = 825;

/// It is made again when it is valid for less than this.
const RENEW_DAYS: u64 = 31;

/// Clocks of guests may be slow.
const EARLY_DAYS: u64 = 1;

/// A clock before this release is wrong: a box without a battery starts in 1970.
const RELEASED: &str = "2026-11-01T00:00:00Z";

const KEY_FILE: &str = "tls-key.pem";
const CERTIFICATE_FILE: &str = "tls-certificate.pem";

/// What the first line of our certificate's file begins with. When it was made, and for which
/// names, follows.
const MADE: &str = "chat made this on ";

/// More than any chain of certificates takes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The lines of a file in PEM.
const PEM_COLUMNS: usize = 64;

/// Where the key and the certificate are.
#[derive(Clone, Debug)]
pub enum Source {
    /// Made by us, and kept.
    Own,
    /// The host's.
    Files {
        /// The certificate, and those that lead to its authority.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// What newcomers are shown, and from where.
#[derive(Debug)]
pub(crate) struct Identity {
    source: Source,
    shown: Arc<Shown>,
}

/// What is shown at present.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Identity {
    /// Loads what there is at `source`, or makes it.
    ///
    /// # Errors
    ///
    /// When a file cannot be used, or not be made.
    pub(crate) fn load(source: Source) -> Result<Self, Error> {
        let shown = Arc::new(Shown(RwLock::new(Arc::new(certified(&source)?))));
        Ok(Self { source, shown })
    }

    /// Whether the host has its own key, and replaces its certificate.
    pub(crate) fn is_from_files(&self) -> bool {
        matches!(self.source, Source::Files { .. })
    }

    /// The same again: the files may have changed, or the addresses. Returns the
    /// [fingerprint](Identity::fingerprint) as it is now.
    ///
    /// # Errors
    ///
    /// As [`Identity::load`]; then what was shown goes on to be.
    pub(crate) fn reload(&self) -> Result<Fingerprint, Error> {
        let certified = Arc::new(certified(&self.source)?);
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        self.fingerprint().map_err(Error::Tls)
    }

    /// What guests know the room by.
    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, rustls::Error> {
        match &self.shown.now().cert[..] {
            [certificate, ..] => Fingerprint::of(certificate),
            [] => Err(rustls::Error::NoCertificatesPresented),
        }
    }

    /// For handshakes, whatever is spoken after them.
    pub(crate) fn config(&self) -> Result<ServerConfig, rustls::Error> {
        server_config(Arc::clone(&self.shown) as Arc<dyn ResolvesServerCert>)
    }
}

fn certified(source: &Source) -> Result<CertifiedKey, Error> {
    match source {
        Source::Files { certificate, key } => {
            open_secret(key).map_err(|e| unusable(key, e))?;
            read(certificate, key)
        }
        Source::Own => {
            let folder = state_folder().ok_or(Error::NoStateFolder)?;
            let certificate = folder.join(CERTIFICATE_FILE);
            let key = folder.join(KEY_FILE);
            make_key(&folder, &key).map_err(|e| unusable(&key, e))?;
            keep_certificate(&certificate, &key)?;
            read(&certificate, &key)
        }
    }
}

/// systemd's for this service, or else the user's (XDG Base Directory Specification).
fn state_folder() -> Option<PathBuf> {
    // systemd.exec(5): of several, which it separates by colons, the first.
    let folders = env::var_os("STATE_DIRECTORY");
    let first = folders.and_then(|folders| env::split_paths(&folders).next());
    first.filter(|it| it.is_absolute()).or_else(user_folder)
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let text = read_regular(certificate).map_err(|e| unusable(certificate, e))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|e| unusable(certificate, pem_problem(e)))?;
    if chain.is_empty() {
        let problem = "it holds no certificate (expected PEM: -----BEGIN CERTIFICATE-----)";
        return Err(unusable(certificate, io::Error::other(problem)));
    }
    let text = read_regular(key).map_err(|e| unusable(key, e))?;
    let private = PrivateKeyDer::from_pem_slice(&text);
    let private = private.map_err(|e| unusable(key, pem_problem(e)))?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|e| match e {
        rustls::Error::InconsistentKeys(_) => {
            let certificate = certificate.display();
            let problem = format!("it is not the key of {certificate}");
            unusable(key, io::Error::other(problem))
        }
        e => unusable(key, io::Error::other(e)),
    })
}

/// What the file at `path` holds, which must not be waited for.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (file, _) = open_regular(path)?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn pem_problem(error: rustls::pki_types::pem::Error) -> io::Error {
    match error {
        rustls::pki_types::pem::Error::Io(e) => e,
        rustls::pki_types::pem::Error::NoItemsFound => {
            io::Error::other("it holds no private key (expected PEM: -----BEGIN PRIVATE KEY-----)")
        }
        e => io::Error::other(e),
    }
}

fn unusable(path: &Path, source: io::Error) -> Error {
    Error::Identity {
        path: path.to_owned(),
        source,
    }
}

/// Makes a key, unless there is one.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.permissions().mode() & 0o077 != 0 => {
            let problem = "others may read it, so it is a secret no more; delete it for a new \
                           one, which guests are to be told, or chmod 600 it";
            return Err(io::Error::other(problem));
        }
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    make_folder(folder)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
    let text = pem("PRIVATE KEY", &key.serialize_der());
    let fresh = write_beside(path, text.as_bytes(), PRIVATE)?;
    // Unlike a rename, a link fails if another server has made a key meanwhile.
    let linked = match fs::hard_link(&fresh, path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&fresh)?;
    linked?;
    File::open(folder)?.sync_all()?;
    info!("made the room's key, {}", path.display());
    Ok(())
}

/// Makes a certificate for the key, unless there is one that will do for a while.
fn keep_certificate(path: &Path, key_path: &Path) -> Result<(), Error> {
    let key = read_regular(key_path)
        .and_then(|text| PrivateKeyDer::from_pem_slice(&text).map_err(pem_problem))
        .and_then(|key| KeyPair::try_from(&key).map_err(io::Error::other))
        .map_err(|e| unusable(key_path, e))?;
    let today = today(SystemTime::now());
    let names = names();
    if let Ok(found) = fs::read_to_string(path)
        && will_do(&found, &names, today)
        && is_of(&found, &key)
    {
        return Ok(());
    }
    let text = certificate(&key, &names, today).map_err(|e| unusable(path, io::Error::other(e)))?;
    let text = format!("{}\n{text}", made(&names, today));
    if let Err(e) = replace(path, text.as_bytes(), 0o644) {
        // A full disk, or one that is read only: it is better to go on with what there is.
        if !path.exists() {
            return Err(unusable(path, e));
        }
        warn!("cannot renew {}: {e}", path.display());
    }
    Ok(())
}

/// Whether the certificate in `text` is for this key: somebody may have deleted the other.
fn is_of(text: &str, key: &KeyPair) -> bool {
    let fingerprint = |certificate: &CertificateDer<'_>| Fingerprint::of(certificate).ok();
    let found = CertificateDer::from_pem_slice(text.as_bytes()).ok();
    let own = CertificateParams::default().self_signed(key).ok();
    let found = found.and_then(|found| fingerprint(&found));
    found.is_some() && found == own.and_then(|own| fingerprint(own.der()))
}

/// The first line of our certificate's file.
fn made(names: &[String], today: Time) -> String {
    format!("{MADE}{today} for {}", names.join(" "))
}

/// Whether the certificate in the file with this `text` is for all `names`, and valid for a while.
fn will_do(text: &str, names: &[String], today: Time) -> bool {
    let first = text.lines().next().unwrap_or_default();
    let made = first
        .strip_prefix(MADE)
        .and_then(|rest| rest.split_once(" for "));
    let Some((date, found)) = made else {
        return false;
    };
    let Some(date) = Time::parse(date) else {
        return false;
    };
    let found: Vec<&str> = found.split(' ').collect();
    let age_days = today.since(date).as_secs() / (24 * 60 * 60);
    // A certificate from the future was made when the clock was wrong.
    date <= today
        && age_days < VALID_DAYS - EARLY_DAYS - RENEW_DAYS
        && names.iter().all(|name| found.contains(&name.as_str()))
}

/// The day to be taken for today's, if the clock says `now`.
fn today(now: SystemTime) -> Time {
    let released = Time::parse(RELEASED).expect("a date");
    let now = Time::from(now).max(released);
    let days = now.since(Time::default()).as_secs() / (24 * 60 * 60);
    Time::from_millis(days * 24 * 60 * 60 * 1000)
}

/// What people may call this machine: its name, and its addresses. Public addresses of IPv6 change
/// by themselves every day.
fn names() -> Vec<String> {
    let host = uname().nodename().to_string_lossy().into_owned();
    let first = host.split('.').next().unwrap_or_default();
    let mut names = vec!["localhost".to_owned()];
    // Others cannot be in a certificate.
    let is_usual = |name: &str| {
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        !name.is_empty() && name.bytes().all(is_usual)
    };
    if is_usual(&host) {
        names.push(format!("{first}.local"));
        names.push(host.clone());
    }
    let addresses = addresses();
    let addresses = addresses.iter().filter(|it| it.is_ipv4() || is_local(it));
    names.extend(addresses.map(ToString::to_string));
    names.sort();
    names.dedup();
    names
}

fn certificate(key: &KeyPair, names: &[String], today: Time) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let day_millis = 24 * 60 * 60 * 1000;
    let millis = |time: Time| time.since(Time::default()).as_millis() as u64;
    let after = |days: u64| Time::from_millis(millis(today) + days * day_millis);
    let before = Time::from_millis(millis(today) - EARLY_DAYS * day_millis);
    (params.not_before, params.not_after) = {
        let [before, after] = [before, after(VALID_DAYS - EARLY_DAYS)].map(Time::date);
        let day = |(year, month, day): (u64, u64, u64)| {
            // Up to 9999-12-31.
            date_time_ymd(year as i32, month as u8, day as u8)
        };
        (day(before), day(after))
    };
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "chat");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Browsers take two with the same number for a forgery.
    let serial = random_bits().map_err(|_| rcgen::Error::RingUnspecified)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    Ok(pem("CERTIFICATE", params.self_signed(key)?.der()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = base64::encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(PEM_COLUMNS) {
        text.push_str(std::str::from_utf8(line).expect("ASCII"));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Time {
        Time::parse(&format!("{text}T00:00:00Z")).unwrap()
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_certificate_is_made_again_when_names_are_missing_or_it_ends_soon() {
        let names = strings(&["box", "192.168.1.5"]);
        let text = made(&names, day("2027-01-01"));
        for (names, today, is_fine) in [
            (&["box"][..], "2027-01-01", true),
            (&["192.168.1.5", "box"], "2029-03-03", true),
            (&["192.168.1.5"], "2029-03-06", false),
            (&["box"], "2029-04-07", false),
            (&["box"], "2026-12-31", false),
            (&["192.168.1.6"], "2027-01-02", false),
            (&["192.168.1"], "2027-01-02", false),
        ] {
            let found = will_do(&text, &strings(names), day(today));
            assert_eq!(found, is_fine, "{names:?} on {today}");
        }
        for other in ["", "-----BEGIN CERTIFICATE-----", MADE] {
            assert!(!will_do(other, &[], day("2027-01-01")), "{other}");
        }
    }

    #[test]
    fn a_clock_that_is_before_this_release_is_not_believed() {
        let at = |text: &str| {
            let millis = Time::parse(text).unwrap().since(Time::default());
            today(SystemTime::UNIX_EPOCH + millis)
        };
        assert_eq!(
            at("1970-01-01T00:00:09Z").to_string(),
            "2026-11-01T00:00:00.000Z"
        );
        assert_eq!(
            at("2031-05-06T07:08:09Z").to_string(),
            "2031-05-06T00:00:00.000Z"
        );
    }

    #[test]
    fn an_own_key_is_kept_and_carried_by_every_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("chat");
        let key = folder.join(KEY_FILE);
        let path = folder.join(CERTIFICATE_FILE);
        let keep = || {
            make_key(&folder, &key).unwrap();
            keep_certificate(&path, &key).unwrap();
            Fingerprint::of(&read(&path, &key).unwrap().cert[0]).unwrap()
        };
        let fingerprint = keep();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&folder), mode(&key), mode(&path)),
            (0o700, 0o600, 0o644)
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(keep(), fingerprint);
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "it will do");

        fs::write(&path, text.replacen(" localhost", "", 1)).unwrap();
        assert_eq!(keep(), fingerprint, "the same key");
        assert_ne!(
            fs::read_to_string(&path).unwrap(),
            text,
            "with another number"
        );

        fs::remove_file(&key).unwrap();
        assert_ne!(keep(), fingerprint, "another key, and a certificate for it");

        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(make_key(&folder, &key).is_err(), "others may read it");
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            2,
            "nothing is left behind"
        );
    }

    #[test]
    fn files_that_do_not_do_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let text = certificate(&own, &strings(&["box"]), day("2027-01-01")).unwrap();
        fs::write(path("certificate"), &text).unwrap();
        fs::write(path("other"), pem("PRIVATE KEY", &other.serialize_der())).unwrap();
        fs::write(path("own"), pem("PRIVATE KEY", &own.serialize_der())).unwrap();
        fs::write(path("empty"), "").unwrap();
        assert!(read(&path("certificate"), &path("own")).is_ok());
        for (certificate, key, culprit) in [
            ("certificate", "other", "other"),
            ("certificate", "empty", "empty"),
            ("certificate", "missing", "missing"),
            ("empty", "own", "empty"),
            ("missing", "own", "missing"),
        ] {
            let error = read(&path(certificate), &path(key))
                .unwrap_err()
                .to_string();
            assert!(error.contains(path(culprit).to_str().unwrap()), "{error}");
        }
    }
}
