//! Messages with descriptors and credentials (unix(7), cmsg(3)): owned first, judged second.
