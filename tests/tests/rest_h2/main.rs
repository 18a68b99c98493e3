//! HTTP/2 without TLS over rest links: gRPC as it is used, curl, and frames that no honest client sends. The identity
//! is on every request, as with HTTP/1.

mod ends;
mod frames;
mod grpc;
mod hostile;
mod provider;
mod requests;
