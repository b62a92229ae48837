//! What both ends of a TLS connection without a socket need, and a key for that.

use std::sync::{Arc, LazyLock};

use chat::protocol::tls::{client_config, provider, server_config};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};

/// What both sides of all connections have in common.
pub(crate) static CONFIGS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["room".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing = provider().key_provider.load_private_key(private);
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::new(chain, signing.expect("a key of a known kind"));
    let server = server_config(Arc::new(SingleCertAndKey::from(certified)));
    let client = client_config().expect("algorithms that go together");
    let server = server.expect("algorithms that go together");
    (Arc::new(client), Arc::new(server))
});
