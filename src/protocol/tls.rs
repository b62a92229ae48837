//! TLS as both ends speak it: version 1.3, few algorithms, and no authority but the key itself.
//!
//! A room is known by its public key, as hosts are in ssh: a certificate only carries it. So
//! neither its names nor its dates are looked at, and a new certificate for the same key changes
//! nothing. That the other end has the private key is shown by the handshake's signature.

mod session;

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

pub(crate) use self::session::RECORD_BYTES;
pub use self::session::Session;
use crate::protocol::base64;

/// The name of the line protocol in a handshake (RFC 7301).
const CHAT: &[u8] = b"chat/1";

/// That of HTTP/1.1, and of WebSocket, which begins so.
pub(crate) const HTTP: &[u8] = b"http/1.1";

/// What a TLS connection begins with: a record of its handshake.
pub(crate) const FIRST_BYTE: u8 = 0x16;

/// What a fingerprint begins with.
const SHA256: &str = "sha256:";

/// Base64 of 32 bytes, without padding.
const DIGEST_CHARS: usize = 43;

/// A public key, as people compare it: `sha256:` and the hash of its SubjectPublicKeyInfo in
/// base64, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Of the key in `certificate`.
    ///
    /// # Errors
    ///
    /// When that is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let certificate = ParsedCertificate::try_from(certificate)?;
        let hash = cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .ok_or(Error::HandshakeNotComplete)?
            .common
            .hash_provider;
        let digest = hash.hash(&certificate.subject_public_key_info());
        let digest = base64::encode(digest.as_ref());
        Ok(Self(format!("{SHA256}{}", digest.trim_end_matches('='))))
    }

    /// As it is written. `None` if `text` is no fingerprint.
    pub fn parse(text: &str) -> Option<Self> {
        let digest = text.strip_prefix(SHA256)?.trim_end_matches('=');
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
        let is_one = digest.len() == DIGEST_CHARS && digest.bytes().all(is_base64);
        is_one.then(|| Self(format!("{SHA256}{digest}")))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The algorithms, the quickest first. Others in the crate would be compiled in, too.
pub fn provider() -> Arc<CryptoProvider> {
    let aes = cipher_suite::TLS13_AES_128_GCM_SHA256;
    let chacha = cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
    Arc::new(CryptoProvider {
        cipher_suites: if has_aes() {
            vec![aes, chacha]
        } else {
            vec![chacha, aes]
        },
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1],
        ..default_provider()
    })
}

/// Whether the processor knows AES: without, ChaCha20 is several times as fast.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// What a server needs that shows the certificate of `resolver`. Nothing is kept of a session
/// that has ended, and no tickets are sent: a resumed session would be one more kind of
/// handshake, to save what takes some 100 µs.
///
/// # Errors
///
/// When the algorithms do not go together.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What `config` is where lines are spoken.
pub(crate) fn for_lines(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![CHAT.to_vec()];
    config
}

/// What `config` is at the web port, where lines are spoken, too, by those who ask for them.
pub(crate) fn for_web(mut config: ServerConfig) -> ServerConfig {
    config.alpn_protocols = vec![CHAT.to_vec(), HTTP.to_vec()];
    config
}

/// What a client needs. It takes any key that the server can sign with: whose that is, its
/// caller finds out from the certificate, and sends nothing before.
///
/// # Errors
///
/// When the algorithms do not go together.
pub fn client_config() -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = AnyKey(provider.signature_verification_algorithms);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![CHAT.to_vec()];
    config.resumption = Resumption::disabled();
    // A name in clear would tell an eavesdropper, and no server of ours, something.
    config.enable_sni = false;
    Ok(config)
}

/// Takes any certificate, and checks that the handshake is signed with its key.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        ParsedCertificate::try_from(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_written_in_one_way() {
        let digest = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
        let written = format!("sha256:{digest}");
        for text in [written.clone(), format!("{written}=")] {
            assert_eq!(Fingerprint::parse(&text).unwrap().to_string(), written);
        }
        for wrong in [digest, "", "sha256:", &written[..49], "sha256:*"] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Fingerprint::parse(&written.replace('+', "-")), None);
    }
}
