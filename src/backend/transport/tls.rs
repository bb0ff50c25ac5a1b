//! TLS to one backend: which authorities count, and what certificate of ours it gets to see.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use super::ClientError;
use crate::config::checked::Tls;

/// The system's authorities, and those of the configuration beside them; our certificate, if there is one.
pub(super) fn config(tls: &Tls) -> Result<ClientConfig, ClientError> {
    // For others that use the library: what exports traces. The second and later calls find it installed.
    let _ = ring::default_provider().install_default();
    let provider = Arc::new(ring::default_provider());
    let verifier = match &tls.ca {
        None => system(&provider)?,
        Some(ca) => Verifier::new_with_extra_roots(certificates(ca.expose()), provider.clone())
            .map(Arc::new)
            .map_err(ClientError::Tls)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(identity) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    // The configuration's check has found both in it.
    let key = PrivateKeyDer::from_pem_slice(identity.expose().as_bytes()).map_err(|_| {
        ClientError::Tls(rustls::Error::General("the key cannot be read".to_owned()))
    })?;
    builder.with_client_auth_cert(certificates(identity.expose()), key).map_err(ClientError::Tls)
}

/// The system's authorities alone: read once for all backends that share them, because they are many.
fn system(provider: &Arc<CryptoProvider>) -> Result<Arc<Verifier>, ClientError> {
    static SHARED: Mutex<Weak<Verifier>> = Mutex::new(Weak::new());
    // A panic in another holder leaves a verifier that is still good to use.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(verifier) = shared.upgrade() {
        return Ok(verifier);
    }
    let verifier = Arc::new(Verifier::new(provider.clone()).map_err(ClientError::Tls)?);
    *shared = Arc::downgrade(&verifier);
    Ok(verifier)
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect()
}
