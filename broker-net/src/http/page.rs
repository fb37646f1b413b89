//! The web interface at `/`: the files of `page/`, embedded in the binary.
//!
//! The page asks the API for everything it shows, as any client does: what is served here is the same for everybody and holds no secret.
//! Every file but the first has a hash of all of them in its path, so that browsers keep it for good and never mix two releases.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::Api;
use super::error::ApiError;

/// Only what this server sends is run, shown or asked, and nobody frames it. Trusted types keep text from ever becoming markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Where the hash of the files goes in the first file.
const VERSION: &str = "{{version}}";

const INDEX: &str = include_str!("../../page/index.html");

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../page/", $name)))),*]
    };
}

/// Everything but the first file, by its path below `page/VERSION/`.
const FILES: &[(&str, &[u8])] = files! {
    "api.js"
    "app.js"
    "argument.js"
    "base.css"
    "chart.css"
    "chart.js"
    "content.css"
    "detail.js"
    "dialog.js"
    "dom.js"
    "form.css"
    "form.js"
    "format.js"
    "history.js"
    "icon.svg"
    "known.js"
    "layout.css"
    "list.js"
    "login.js"
    "notice.js"
    "poll.js"
    "route.js"
    "session.js"
    "shell.js"
    "view.js"
    "view/binding.js"
    "view/channel.js"
    "view/channels.js"
    "view/connection.js"
    "view/connections.js"
    "view/definitions.js"
    "view/delayed.js"
    "view/exchange.js"
    "view/exchanges.js"
    "view/limit.js"
    "view/limits.js"
    "view/messages.js"
    "view/move.js"
    "view/overview.js"
    "view/permission.js"
    "view/permissions.js"
    "view/policies.js"
    "view/publish.js"
    "view/queue.js"
    "view/queues.js"
    "view/user.js"
    "view/users.js"
    "view/vhost.js"
    "view/vhosts.js"
};

/// The first file and what names this build's files.
struct Page {
    version: String,
    index: String,
}

fn page() -> &'static Page {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        (INDEX, FILES).hash(&mut hasher);
        let version = format!("{:016x}", hasher.finish());
        Page { index: INDEX.replace(VERSION, &version), version }
    })
}

/// The paths of the page.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/", get(index)).route("/page/{version}/{*name}", get(file))
}

async fn index(headers: HeaderMap) -> Response {
    let Page { version, index } = page();
    answer(&headers, version, "no-cache", content_type("index.html"), index.as_bytes())
}

async fn file(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let found = FILES.iter().find(|(file, _)| **file == *name).filter(|_| version == page().version);
    let Some((_, bytes)) = found else {
        return ApiError::not_found().into_response();
    };
    answer(&headers, &version, "public, max-age=31536000, immutable", content_type(&name), bytes)
}

fn answer(
    headers: &HeaderMap,
    version: &str,
    caching: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
) -> Response {
    let etag = format!("\"{version}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let known = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag));
    let fixed = [
        (header::CACHE_CONTROL, caching),
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { bytes.into_response() };
    let headers = response.headers_mut();
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The files in a directory of `page/`, by their paths below it.
    fn files_in(directory: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{below}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                files_in(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name);
            }
        }
    }

    #[test]
    fn every_file_is_embedded_and_has_a_type() {
        let mut found = BTreeSet::new();
        files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("page"), "", &mut found);
        assert!(found.remove("index.html"));
        let embedded: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(found, embedded);
        for name in embedded {
            assert_ne!(content_type(&name), "application/octet-stream", "{name}");
        }
    }

    #[test]
    fn the_first_file_has_the_browser_load_all_modules_at_once() {
        let index = &page().index;
        for (name, _) in FILES {
            let path = format!("\"page/{}/{name}\"", page().version);
            assert_eq!(index.matches(&path).count(), 1, "{name}");
        }
        assert!(!index.contains(VERSION));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_text_never_becomes_markup() {
        for (name, bytes) in FILES.iter().copied().chain([("index.html", INDEX.as_bytes())]) {
            let text = std::str::from_utf8(bytes).unwrap();
            for refused in ["http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "style="] {
                // Elements of a drawing need the name of their namespace, which nobody fetches.
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(refused), "{refused} in {name}");
            }
        }
    }
}
