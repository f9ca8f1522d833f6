//! A build without TLS (`--no-default-features`): nothing of it is in the program, and `config`
//! refuses whatever would need it. What is still asked for fails.

use std::io;

fn unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this build of snet speaks no TLS")
}

/// In the place of TLS.
pub mod tls {
    use super::unsupported;
    use crate::proxy::Stream;
    use crate::proxy::trust::Trust;
    use std::io;
    use std::net::IpAddr;
    use std::path::PathBuf;
    use std::time::Duration;

    /// For a handshake, of which there is none.
    pub const HANDSHAKE: Duration = Duration::from_secs(3);

    /// Makes no connections.
    #[derive(Clone, Debug, Default)]
    pub struct NoTls(());

    pub use NoTls as Tls;

    impl NoTls {
        /// Fails.
        ///
        /// # Errors
        /// Always.
        pub async fn connect(
            &self,
            _name: &str,
            _protocol: &[u8],
            _stream: Box<dyn Stream>,
            _patience: Duration,
        ) -> io::Result<Box<dyn Stream>> {
            Err(unsupported())
        }
    }

    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn hello(_server: IpAddr) -> io::Result<Vec<u8>> {
        Err(unsupported())
    }

    /// Takes none.
    ///
    /// # Errors
    /// Always.
    pub fn authorities(_file: PathBuf, _text: &[u8]) -> Result<Trust, String> {
        Err("certificates, and this build of snet speaks no TLS".into())
    }
}

/// In the place of proxies that speak TLS.
pub mod https {
    use super::unsupported;
    use crate::proxy::credentials::Credentials;
    use crate::proxy::server::ProxyServer;
    use crate::proxy::trust::TlsServer;
    use crate::proxy::{BoxFuture, Error, Link, Progress, Proxy};
    use crate::target::Target;

    /// There are none.
    pub fn bound_windows(_: usize) {}

    /// A proxy through which nothing goes.
    #[derive(Debug)]
    pub struct NoHttps(ProxyServer);

    pub use NoHttps as HttpsConnect;

    impl NoHttps {
        /// Of this server.
        pub fn new(server: ProxyServer, _: TlsServer, _: Option<Credentials>) -> Self {
            NoHttps(server)
        }
    }

    impl Proxy for NoHttps {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn connect<'a>(
            &'a self,
            _target: &'a Target,
            _progress: &'a Progress,
        ) -> BoxFuture<'a, Result<Link, Error>> {
            let server = self.0.name().to_owned();
            Box::pin(async move { Err(Error::Handshake { server, source: unsupported() }) })
        }
    }
}
