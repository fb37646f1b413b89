//! Where the broker can be reached: every address that it listens on, and the certificates of those that speak TLS.

use std::io;
use std::net::SocketAddr;

use crate::config::{Settings, Tls};
use crate::http::{HttpPort, Listening, Secured};
use crate::startup::{self, Claim, StartError};
use crate::tls::{Acceptor, TlsError};
use crate::transport::Listen;

/// Every address that AMQP is spoken on, with the ports that the system gives. Those stay reserved while the claims are there.
pub(crate) fn listens(settings: &Settings) -> Result<(Vec<Listen>, Vec<Claim>), StartError> {
    let kinds = [
        (&settings.tcp, false, false),
        (&settings.ssl, true, false),
        (&settings.ws, false, true),
        (&settings.wss, true, true),
    ];
    let listens = kinds.into_iter().flat_map(|(addresses, tls, websocket)| {
        addresses.iter().map(move |address| Listen { address: *address, tls, websocket })
    });
    listens
        .map(|listen| {
            let claim = startup::claim(listen.flag(), listen.address)?;
            Ok((Listen { address: claim.address, ..listen }, claim))
        })
        .collect()
}

/// Says where the broker can be reached: the first address of each kind in one line, for whoever waits for it.
pub(crate) fn log_addresses(listens: &[Listen], http_ports: &HttpPorts) {
    let first = |protocol| {
        let listen = listens.iter().find(|listen| listen.protocol() == protocol);
        listen.map(|listen| listen.address.to_string()).unwrap_or_default()
    };
    for listen in listens {
        tracing::info!(address = %listen.address, protocol = listen.protocol(), "listening");
    }
    let port = |ports: &[HttpPort], tls: bool| {
        let port = ports.iter().find(|port| port.acceptor.is_some() == tls);
        port.and_then(|port| port.listener.local_addr().ok()).map(|at| at.to_string()).unwrap_or_default()
    };
    tracing::info!(
        amqp = %first("amqp"),
        amqps = %first("amqp/ssl"),
        ws = %first("amqp/ws"),
        wss = %first("amqp/wss"),
        metrics = %port(&http_ports.metrics, false),
        http = %port(&http_ports.management, false),
        https = %port(&http_ports.management, true),
        "ready"
    );
}

/// The certificates of every kind of listener that speaks TLS.
pub(crate) struct Certificates {
    /// For AMQP, WebSocket included.
    pub(crate) amqp: Option<Acceptor>,
    management: Option<Acceptor>,
    metrics: Option<Acceptor>,
}

impl Certificates {
    /// Reads the files of those that are needed.
    pub(crate) fn read(settings: &Settings) -> Result<Self, TlsError> {
        let Settings { tls, management_ssl, prometheus_ssl, .. } = settings;
        let read = |wanted: bool, options: &Tls| wanted.then(|| Acceptor::new(options)).transpose();
        Ok(Self {
            amqp: read(!(settings.ssl.is_empty() && settings.wss.is_empty()), tls)?,
            management: read(management_ssl.port.is_some(), &management_ssl.tls(tls))?,
            metrics: read(prometheus_ssl.port.is_some(), &prometheus_ssl.tls(tls))?,
        })
    }

    /// Reads the files again. What cannot be read stays as it was.
    pub(crate) fn reread(&self, settings: &Settings) -> Result<(), TlsError> {
        let tls = &settings.tls;
        let all = [
            (&self.amqp, tls.clone()),
            (&self.management, settings.management_ssl.tls(tls)),
            (&self.metrics, settings.prometheus_ssl.tls(tls)),
        ];
        all.iter().filter_map(|(acceptor, options)| Some(acceptor.as_ref()?.reload(options))).collect()
    }
}

/// All ports of the broker, and those of them that speak TLS with what they show.
pub(crate) fn reachable(
    listens: &[Listen],
    certificates: &Certificates,
    http: &HttpPorts,
) -> io::Result<(Vec<Listening>, Vec<Secured>)> {
    let amqp = listens.iter().map(|listen| {
        let listening = Listening { protocol: listen.protocol(), address: listen.address };
        (listening, certificates.amqp.clone().filter(|_| listen.tls))
    });
    let http = http.listening()?.into_iter().zip(http.management.iter().chain(&http.metrics));
    let all: Vec<_> = amqp.chain(http.map(|(listening, port)| (listening, port.acceptor.clone()))).collect();
    let secured = all.iter().filter_map(|(listening, acceptor)| {
        Some(Secured { listening: listening.clone(), acceptor: acceptor.clone()? })
    });
    let secured = secured.collect();
    Ok((all.into_iter().map(|(listening, _)| listening).collect(), secured))
}

/// The ports of the HTTP servers.
pub(crate) struct HttpPorts {
    /// Of the management API.
    pub(crate) management: Vec<HttpPort>,
    /// Of the metrics.
    pub(crate) metrics: Vec<HttpPort>,
}

impl HttpPorts {
    /// Binds all of them.
    pub(crate) fn bind(settings: &Settings, certificates: &Certificates) -> Result<Self, StartError> {
        let ports = |flag, plain, secure: Option<SocketAddr>, acceptor: &Option<Acceptor>| {
            let addresses = [(Some(plain), None), (secure, acceptor.clone())];
            let ports = addresses.into_iter().filter_map(|(address, acceptor)| Some((address?, acceptor)));
            ports
                .map(|(address, acceptor)| Ok(HttpPort { listener: startup::bind(flag, address)?, acceptor }))
                .collect::<Result<Vec<_>, StartError>>()
        };
        let Settings { management, management_ssl, prometheus, prometheus_ssl, .. } = settings;
        Ok(Self {
            management: ports("--http", management.address(), management_ssl.address(), &certificates.management)?,
            metrics: ports("--metrics", prometheus.address(), prometheus_ssl.address(), &certificates.metrics)?,
        })
    }

    /// RabbitMQ's names of what is spoken, and where.
    fn listening(&self) -> io::Result<Vec<Listening>> {
        let named = |ports: &[HttpPort], plain, secure| {
            let named = ports.iter().map(|port| {
                let protocol = if port.acceptor.is_some() { secure } else { plain };
                Ok(Listening { protocol, address: port.listener.local_addr()? })
            });
            named.collect::<io::Result<Vec<_>>>()
        };
        let mut all = named(&self.management, "http", "https")?;
        all.extend(named(&self.metrics, "http/prometheus", "https/prometheus")?);
        Ok(all)
    }
}
