//! Reads the body of a request, whichever way it is encoded (RFC 9110, section 8.4). Codex sends zstd to
//! what it takes for OpenAI (codex-cli 0.169).

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::ApiError;

/// The memory that a body may ask for by its own head: RFC 9659 allows a window of 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What is decoded before others have their turn.
const PIECE_BYTES: usize = 128 * 1024;

/// The whole body, decoded. `bytes_max` holds for what comes and for what comes out.
///
/// # Errors
///
/// When it is too large, breaks off, or is encoded in a way that is not known or not as it says.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, ApiError> {
    let encoding = headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
    let encoding = encoding.as_deref().unwrap_or(b"identity");
    // Refused before the body is read.
    if !ENCODINGS.contains(&encoding) {
        let encoding = String::from_utf8_lossy(encoding).chars().take(64).collect();
        return Err(ApiError::Encoding { encoding });
    }
    let body = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(ApiError::TooLarge { bytes_max });
        }
        Err(_) => return Err(ApiError::Unreadable),
    };
    let encoded = &body[..];
    match encoding {
        b"gzip" | b"x-gzip" => {
            let mut decoder = GzipDecoder::new(encoded);
            decoder.multiple_members(true);
            decode(decoder, bytes_max).await
        }
        b"deflate" => decode(ZlibDecoder::new(encoded), bytes_max).await,
        b"br" => decode(BrotliDecoder::new(encoded), bytes_max).await,
        b"zstd" => {
            let window = DParameter::window_log_max(ZSTD_WINDOW_LOG_MAX);
            let mut decoder = ZstdDecoder::with_params(encoded, &[window]);
            decoder.multiple_members(true);
            decode(decoder, bytes_max).await
        }
        _ => Ok(body),
    }
}

const ENCODINGS: [&[u8]; 6] = [b"identity", b"gzip", b"x-gzip", b"deflate", b"br", b"zstd"];

async fn decode(mut decoder: impl AsyncRead + Unpin, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut decoded = BytesMut::new();
    loop {
        decoded.reserve(PIECE_BYTES);
        let read = decoder.read_buf(&mut decoded).await.map_err(|_| ApiError::Undecodable)?;
        if decoded.len() > bytes_max {
            return Err(ApiError::TooLarge { bytes_max });
        }
        if read == 0 {
            return Ok(decoded.freeze());
        }
        // The input is all there, so that nothing else would give way.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder, ZlibEncoder, ZstdEncoder};
    use http::HeaderValue;

    use super::*;

    async fn encoded(encoder: impl AsyncRead) -> Vec<u8> {
        let mut bytes = Vec::new();
        std::pin::pin!(encoder).read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    async fn every_way(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("identity", plain.to_vec()),
            ("gzip", encoded(GzipEncoder::new(plain)).await),
            ("X-GZIP", encoded(GzipEncoder::new(plain)).await),
            ("deflate", encoded(ZlibEncoder::new(plain)).await),
            ("br", encoded(BrotliEncoder::new(plain)).await),
            ("zstd", encoded(ZstdEncoder::new(plain)).await),
        ]
    }

    async fn read(encoding: &'static str, body: Vec<u8>, max: usize) -> Result<Bytes, ApiError> {
        let headers = [(CONTENT_ENCODING, HeaderValue::from_static(encoding))];
        super::read(&headers.into_iter().collect(), Body::from(body), max).await
    }

    #[tokio::test]
    async fn every_encoding_is_read() {
        let plain = r#"{"model":"m"}"#.repeat(100_000);
        for (encoding, body) in every_way(plain.as_bytes()).await {
            assert_eq!(read(encoding, body, plain.len()).await.unwrap(), plain, "{encoding}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_when_decoded_is_refused() {
        let bomb = vec![b' '; 8 << 20];
        for (encoding, body) in every_way(&bomb).await {
            let refused = read(encoding, body, 1 << 20).await;
            assert!(
                matches!(refused, Err(ApiError::TooLarge { bytes_max: 1_048_576 })),
                "{encoding}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_such_encoding_is_refused() {
        for (encoding, body) in every_way(b"{}").await.into_iter().skip(1) {
            let cut = body[..body.len() - 1].to_vec();
            for broken in [b"{\"model\":\"m\"}".to_vec(), cut] {
                let refused = read(encoding, broken, 1000).await;
                assert!(matches!(refused, Err(ApiError::Undecodable)), "{encoding}");
            }
        }
        for unknown in ["compress", "gzip, zstd", ""] {
            let refused = read(unknown, b"{}".to_vec(), 1000).await;
            assert!(matches!(refused, Err(ApiError::Encoding { .. })), "{unknown}");
        }
    }

    #[tokio::test]
    async fn a_window_that_is_larger_than_allowed_is_refused() {
        // A frame with a window of 128 MiB, as its head alone says (RFC 8878, section 3.1.1.1).
        let frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 0x01, 0x00, 0x00];
        assert!(matches!(read("zstd", frame, 1000).await, Err(ApiError::Undecodable)));
    }
}
