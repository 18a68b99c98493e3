use std::os::unix::fs::symlink;

use rustix::fs::CWD;

use super::*;

fn root(dir: &tempfile::TempDir) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, dir.path(), flags, Mode::empty()).unwrap()
}

#[test]
fn absolute_links_and_dots_stay_below_the_root() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/hostname"), "inside").unwrap();
    symlink("/etc/hostname", dir.path().join("absolute")).unwrap();
    symlink("../../../../etc/hostname", dir.path().join("dots")).unwrap();
    let root = root(&dir);
    let inside = entry_at(&root, "etc/hostname").unwrap().unwrap().inode;
    for link in ["absolute", "dots"] {
        let fd = open_in_root(&root, link, OFlags::PATH).unwrap();
        assert_eq!(entry_of(fd).unwrap().inode, inside);
    }
}

#[test]
fn nothing_is_ever_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), name).unwrap();
    }
    let root = root(&dir);
    assert_eq!(rename_no_replace(&root, "a", "b").unwrap(), Renamed::Taken);
    assert_eq!(rename_no_replace(&root, "x", "y").unwrap(), Renamed::Missing);
    assert_eq!(rename_no_replace(&root, "a", "c").unwrap(), Renamed::Yes);
    assert_eq!(std::fs::read_to_string(dir.path().join("c")).unwrap(), "a");
}

#[test]
fn an_entry_is_told_from_its_successor() {
    let dir = tempfile::tempdir().unwrap();
    let root = root(&dir);
    std::fs::write(dir.path().join("a"), "").unwrap();
    let first = entry_at(&root, "a").unwrap().unwrap();
    assert_eq!(first.kind, FileKind::File);
    std::fs::remove_file(dir.path().join("a")).unwrap();
    assert!(entry_at(&root, "a").unwrap().is_none());
    std::fs::write(dir.path().join("a"), "").unwrap();
    assert_ne!(entry_at(&root, "a").unwrap().unwrap().inode, first.inode);
}

#[test]
fn inode_ids_survive_json() {
    let id = InodeId { dev_major: 1, dev_minor: 2, ino: 3, btime_ns: 1_800_000_000_123_456_789 };
    assert_eq!(serde_json::from_str::<InodeId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
}

#[test]
fn subdirectories_are_opened_without_following_links() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let root = root(&dir);
    assert!(open_subdirectory(&root, "real").is_ok());
    assert!(open_subdirectory(&root, "link").is_err());
    assert_eq!(entry_of(open_entry(&root, "link").unwrap()).unwrap().kind, FileKind::Symlink);
}

#[test]
fn random_names_fit_a_short_socket_address() {
    let name = random_name().unwrap();
    assert_eq!(name.len(), 34);
    assert_ne!(name, random_name().unwrap());
}
