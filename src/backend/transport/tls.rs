//! TLS to one backend: which authorities count, and what certificate of ours it gets to see.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use super::ClientError;
use crate::config::checked::Tls;

/// The system's authorities, and those of the configuration beside them; our certificate, if there is one.
pub(super) fn config(tls: &Tls) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(ring::default_provider());
    let ca = tls.ca.as_ref().map(|ca| certificates(ca.expose())).unwrap_or_default();
    let verifier =
        Verifier::new_with_extra_roots(ca, provider.clone()).map_err(ClientError::Tls)?;
    let builder = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(identity) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    // The configuration's check has found both in it.
    let key = PrivateKeyDer::from_pem_slice(identity.expose().as_bytes()).map_err(|_| {
        ClientError::Tls(rustls::Error::General("the key cannot be read".to_owned()))
    })?;
    builder.with_client_auth_cert(certificates(identity.expose()), key).map_err(ClientError::Tls)
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect()
}
