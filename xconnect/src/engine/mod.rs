//! `pv-appengine`: state directory, containers, managed daemons and the control socket.
