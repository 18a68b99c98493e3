//! The configuration files of the two references: each at its best for what is measured, and doing what a rest
//! link does to a request: it keeps connections to the provider and sets three fields.

use std::path::Path;

/// nginx. What is not its default, and why:
/// - `user root`: its workers have to reach sockets in a private directory.
/// - connections on both sides are kept for ever, as a bench has no pauses: `keepalive_requests` alone would close
///   every thousandth time.
/// - no access log: nobody else here writes one.
/// - `proxy_request_buffering off`: otherwise an upload goes to disk before the provider sees any of it.
/// - four `proxy_buffers` of 256 KiB, and no file for what does not fit: with its default of 8 times 4 KiB a download
///   takes more than twice as long, and goes to disk, too. They are taken as they are needed. Larger ones are slower.
/// - `client_body_buffer_size` likewise, for uploads.
pub(super) fn nginx(directory: &Path, listen: &Path, origin: &Path, cpus: usize) -> String {
    let (directory, listen, origin) = (directory.display(), listen.display(), origin.display());
    format!(
        r#"daemon off;
user root;
worker_processes {cpus};
pid {directory}/nginx.pid;
error_log {directory}/nginx.log warn;
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_time 1d;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    upstream origin {{
        server unix:{origin};
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_time 1d;
        keepalive_timeout 1h;
    }}
    server {{
        listen unix:{listen} backlog=1024;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering on;
            proxy_buffer_size 8k;
            proxy_buffers 4 256k;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-PV-Client consumer;
            proxy_set_header X-PV-Role any;
            proxy_set_header X-PV-Link-Id bench;
        }}
    }}
}}
"#
    )
}

/// haproxy. What is not its default, and why:
/// - a thread for each CPU in use.
/// - `http-reuse always`: an idle connection to the provider takes the next request, whoever had it before.
/// - `tune.bufsize 65536`: chunked bodies go through it piece by piece, and its default of 16 KiB makes that slower.
///   Larger ones are slower, too.
/// - `splice-request` and `splice-response`: bodies with a length do not enter its memory at all, which saves a third
///   of their time (`splice-auto` does not see that it could).
pub(super) fn haproxy(listen: &Path, origin: &Path, cpus: usize) -> String {
    let (listen, origin) = (listen.display(), origin.display());
    format!(
        "global
    nbthread {cpus}
    maxconn 4096
    tune.bufsize 65536
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout http-keep-alive 1h
    http-reuse always
    option splice-request
    option splice-response
frontend bench
    bind unix@{listen}
    http-request set-header X-PV-Client consumer
    http-request set-header X-PV-Role any
    http-request set-header X-PV-Link-Id bench
    default_backend origin
backend origin
    server origin unix@{origin}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_name_sockets_and_processors() {
        let [directory, listen, origin] = ["/d", "/d/l", "/d/o"].map(Path::new);
        let nginx = nginx(directory, listen, origin, 2);
        for line in [
            "worker_processes 2;",
            "listen unix:/d/l backlog=1024;",
            "server unix:/d/o;",
            "pid /d/nginx.pid;",
        ] {
            assert!(nginx.contains(line), "{line}");
        }
        assert_eq!(nginx.matches('{').count(), nginx.matches('}').count());
        let haproxy = haproxy(listen, origin, 2);
        for line in ["nbthread 2\n", "bind unix@/d/l\n", "server origin unix@/d/o\n"] {
            assert!(haproxy.contains(line), "{line}");
        }
    }
}
