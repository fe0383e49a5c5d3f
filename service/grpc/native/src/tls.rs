//! TLS and mutual TLS from PEM files' contents, which may be replaced while the server runs.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The certificates of new handshakes.
#[derive(Default)]
pub struct Certificates(ArcSwapOption<ServerConfig>);

impl Certificates {
    pub fn get(&self) -> Option<Arc<ServerConfig>> {
        self.0.load_full()
    }

    /// Replaces the certificates.
    ///
    /// # Errors
    /// Says what is wrong with the certificates. The old ones stay.
    pub fn set(&self, chain: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<(), String> {
        self.0.store(Some(Arc::new(server_config(chain, key, client_authorities)?)));
        Ok(())
    }
}

fn server_config(chain: &[u8], key: &[u8], client_authorities: Option<&[u8]>) -> Result<ServerConfig, String> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authorities)? {
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
    let mut config = builder.with_single_cert(certificates(chain)?, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
}
