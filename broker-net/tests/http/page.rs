//! The web interface: what the broker serves at `/`, before anybody has logged in.

use ureq::http::Response;

use crate::harness::Served;

fn fetch(served: &Served, path: &str, tag: Option<&str>) -> (Response<ureq::Body>, String) {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let request = agent.get(format!("http://{}{path}", served.broker.http));
    let request = match tag {
        Some(tag) => request.header("if-none-match", tag),
        None => request,
    };
    let mut response = request.call().unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response, text)
}

fn header<'a>(response: &'a Response<ureq::Body>, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

/// The paths that the first file names.
fn named_in(index: &str) -> Vec<&str> {
    index.split('"').filter(|part| part.starts_with("page/")).collect()
}

#[test]
fn the_page_and_all_its_files_are_served_to_anybody() {
    let served = Served::start();
    let (response, index) = fetch(&served, "/", None);
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    let policy = header(&response, "content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let named = named_in(&index);
    assert!(named.len() > 30, "{index}");
    for path in named {
        let (response, text) = fetch(&served, &format!("/{path}"), None);
        assert_eq!(response.status(), 200, "{path}");
        assert!(!text.is_empty(), "{path}");
        assert!(header(&response, "cache-control").ends_with("immutable"), "{path}");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff", "{path}");
    }
}

#[test]
fn what_a_browser_has_is_not_sent_again() {
    let served = Served::start();
    let (response, _) = fetch(&served, "/", None);
    let tag = header(&response, "etag").to_owned();
    let (response, text) = fetch(&served, "/", Some(&tag));
    assert_eq!((response.status().as_u16(), text.as_str()), (304, ""));
    let (response, _) = fetch(&served, "/", Some("\"another\""));
    assert_eq!(response.status(), 200);
}

#[test]
fn files_of_another_release_and_other_paths_are_404() {
    let served = Served::start();
    for path in ["/page/0123456789abcdef/app.js", "/page", "/app.js", "/page/x/../../etc/passwd"] {
        let (response, text) = fetch(&served, path, None);
        assert_eq!(response.status(), 404, "{path}");
        assert!(text.contains("Object Not Found"), "{path}: {text}");
    }
}
