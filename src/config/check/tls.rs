//! Certificates of backends that the system does not know, and ours for those that ask for one.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::checked::Tls;
use super::super::secret::Secret;
use super::super::written;
use super::Check;

/// Many times what a bundle of every public authority has.
const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;

const CERTIFICATES: &str = "a readable PEM file with certificates";
const KEY: &str = "a readable PEM file with a private key that is not encrypted";

impl Check<'_> {
    pub(super) fn tls(&mut self, key: &str, written: &written::Tls) -> Tls {
        let ca = written.ca_file.as_deref().and_then(|file| {
            self.pem(&format!("{key}.ca_file"), file, CERTIFICATES, has_certificates)
        });
        let files = (written.cert_file.as_deref(), written.key_file.as_deref());
        let (Some(cert_file), Some(key_file)) = files else {
            if files != (None, None) {
                self.wrong(key, "one of cert_file and key_file", "both or neither");
            }
            return Tls { ca, identity: None };
        };
        let cert = self.pem(&format!("{key}.cert_file"), cert_file, CERTIFICATES, has_certificates);
        let own = self.pem(&format!("{key}.key_file"), key_file, KEY, has_key);
        let identity = cert.zip(own);
        let identity = identity
            .map(|(cert, key)| Secret::from(format!("{}\n{}", key.expose(), cert.expose())));
        Tls { ca, identity }
    }

    fn pem(
        &mut self,
        key: &str,
        file: &Path,
        allowed: &str,
        is_sound: fn(&[u8]) -> bool,
    ) -> Option<Secret> {
        let found = match self.read_secret(file, PEM_BYTES_MAX) {
            Ok(text) if is_sound(text.expose().as_bytes()) => return Some(text),
            Ok(_) => format!("{}, without", file.display()),
            Err(error) => format!("{} ({error})", file.display()),
        };
        self.wrong(key, found, allowed);
        None
    }
}

fn has_certificates(pem: &[u8]) -> bool {
    let mut all = CertificateDer::pem_slice_iter(pem).peekable();
    all.peek().is_some() && all.all(|one| one.is_ok())
}

fn has_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok()
}
