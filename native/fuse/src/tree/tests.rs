use std::sync::mpsc::{Receiver, channel};

use super::*;

/// A tree whose asks can be seen.
fn tree() -> (Arc<Tree>, Receiver<String>) {
    let (sender, asked) = channel();
    (Arc::new(Tree::new(move |path: &str| sender.send(path.to_owned()).unwrap())), asked)
}

fn entry(name: &str, ino: u64, content: Content) -> Entry {
    Entry { name: name.into(), ino, mtime_ms: 1000.0, content }
}

fn directory(ino: u64, entries: Vec<Entry>) -> Answer {
    Answer::Found(Directory { ino, mtime_ms: 1000.0, entries })
}

/// A root with one disk that holds one file and one link.
fn filled() -> (Arc<Tree>, Receiver<String>) {
    let (tree, asked) = tree();
    let found = lookup(&tree, ROOT, "vm1");
    tree.answer("", directory(ROOT, vec![entry("vm1", 2, Content::Directory)]));
    assert_eq!(found.recv().unwrap().unwrap(), 2);
    let found = lookup(&tree, 2, "file");
    tree.answer("vm1", disk(3));
    assert_eq!(found.recv().unwrap().unwrap(), 3);
    let _ = asked.try_iter().count();
    (tree, asked)
}

fn disk(file: u64) -> Answer {
    let text = |text: &str| Content::Text { text: text.into() };
    directory(2, vec![entry("file", file, text("content")), entry("other", 40, text("other"))])
}

fn lookup(tree: &Arc<Tree>, parent: u64, name: &str) -> Receiver<Result<u64, Errno>> {
    let (sender, found) = channel();
    // A test that does not care lets the receiver go.
    tree.lookup(parent, name, move |node| {
        let _ = sender.send(node.map(|node| node.ino));
    });
    found
}

fn name(parent: u64, name: &str) -> Invalidation {
    Invalidation::Name { parent, name: name.into() }
}

#[test]
fn who_looks_into_an_unknown_directory_waits_without_a_thread_and_it_is_asked_for_once() {
    let (tree, asked) = tree();
    let waiting = [lookup(&tree, ROOT, "vm1"), lookup(&tree, ROOT, "none")];
    assert!(waiting.iter().all(|found| found.try_recv().is_err()));
    tree.answer("", directory(ROOT, vec![entry("vm1", 2, Content::Directory)]));
    assert_eq!(waiting[0].recv().unwrap(), Ok(2));
    assert_eq!(waiting[1].recv().unwrap(), Err(Errno::NOENT));
    assert_eq!(lookup(&tree, ROOT, "vm1").try_recv().unwrap(), Ok(2));
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [""]);
    assert_eq!(tree.directories(), [""]);
}

#[test]
fn paths_lead_from_the_root() {
    let (tree, asked) = filled();
    let _ = lookup(&tree, 2, "file");
    tree.changed(&["vm1".into()]);
    assert_eq!(asked.recv().unwrap(), "vm1");
    assert_eq!(lookup(&tree, 3, "x").recv().unwrap(), Err(Errno::NOTDIR));
    assert_eq!(lookup(&tree, 99, "x").recv().unwrap(), Err(Errno::STALE));
}

#[test]
fn a_failed_answer_is_an_error_now_and_is_asked_for_again_later() {
    let (tree, asked) = tree();
    let found = lookup(&tree, ROOT, "vm1");
    tree.answer("", Answer::Failed);
    assert_eq!(found.recv().unwrap(), Err(Errno::IO));
    let _ = lookup(&tree, ROOT, "vm1");
    assert_eq!(asked.try_iter().count(), 2);
}

#[test]
fn what_vanished_or_became_another_is_told_and_what_stayed_is_not() {
    let (tree, asked) = filled();
    let _ = lookup(&tree, 2, "other");
    tree.changed(&["vm1".into()]);
    assert_eq!(asked.recv().unwrap(), "vm1");
    assert_eq!(tree.answer("vm1", disk(5)), [name(2, "file")]);
    assert_eq!(lookup(&tree, 2, "file").recv().unwrap(), Ok(5));
    tree.changed(&["vm1".into()]);
    assert_eq!(tree.answer("vm1", disk(5)), []);
}

#[test]
fn a_directory_of_which_the_kernel_holds_nothing_is_only_forgotten() {
    let (tree, asked) = filled();
    tree.forget(3, 1);
    tree.changed(&["vm1".into()]);
    assert!(asked.try_recv().is_err());
    let found = lookup(&tree, 2, "file");
    assert_eq!(asked.recv().unwrap(), "vm1");
    tree.answer("vm1", disk(5));
    assert_eq!(found.recv().unwrap(), Ok(5));
}

#[test]
fn a_directory_that_went_loses_all_its_names() {
    let (tree, _asked) = filled();
    tree.changed(&["vm1".into(), String::new()]);
    assert_eq!(tree.answer("vm1", Answer::Missing), [name(2, "file")]);
    assert_eq!(tree.answer("", directory(ROOT, vec![])), [name(ROOT, "vm1")]);
    assert_eq!(lookup(&tree, ROOT, "vm1").recv().unwrap(), Err(Errno::NOENT));
    // An open file of it is still known, until the kernel lets go.
    assert_eq!(tree.node(3).unwrap().ino, 3);
    tree.forget(3, 1);
    tree.forget(2, 1);
    assert_eq!(tree.node(3).err(), Some(Errno::STALE));
    assert_eq!(tree.directories(), [""]);
}

#[test]
fn another_directory_of_the_same_path_is_not_the_one_that_was_looked_into() {
    let (tree, _asked) = filled();
    tree.changed(&["vm1".into()]);
    let found = lookup(&tree, 2, "file");
    let answer = directory(7, vec![entry("file", 8, Content::Directory)]);
    assert_eq!(tree.answer("vm1", answer), [name(2, "file")]);
    assert_eq!(found.recv().unwrap(), Err(Errno::NOENT));
}

#[test]
fn an_answer_that_was_overtaken_by_a_change_is_not_believed() {
    let (tree, asked) = filled();
    tree.changed(&["vm1".into()]);
    let found = lookup(&tree, 2, "file");
    tree.changed(&["vm1".into()]);
    assert_eq!(tree.answer("vm1", disk(3)), []);
    assert!(found.try_recv().is_err());
    assert_eq!(tree.answer("vm1", disk(6)), [name(2, "file")]);
    assert_eq!(found.recv().unwrap(), Ok(6));
    assert_eq!(asked.try_iter().count(), 2);
}

#[test]
fn a_text_that_changed_under_its_number_is_told_with_its_bytes() {
    let (tree, _asked) = filled();
    let changed = |text: &str, mtime_ms: f64| {
        tree.changed(&["vm1".into()]);
        let mut file = entry("file", 3, Content::Text { text: text.into() });
        file.mtime_ms = mtime_ms;
        tree.answer("vm1", directory(2, vec![file]))
    };
    assert_eq!(changed("content", 1000.0), []);
    assert_eq!(changed("another", 1000.0), [Invalidation::Content { ino: 3 }]);
    assert_eq!(changed("another", 3000.0), [Invalidation::Attributes { ino: 3 }]);
}

#[test]
fn a_name_out_of_an_old_listing_is_not_believed_for_long() {
    let (tree, _asked) = filled();
    let (sender, listed) = channel();
    tree.entries(2, move |found| sender.send(found.unwrap()).unwrap());
    let before = listed.recv().unwrap();
    assert!(tree.give_out_listed(&before.list[0]).1);
    tree.changed(&["vm1".into()]);
    assert!(!tree.give_out_listed(&before.list[0]).1);
    tree.answer("vm1", disk(5));
    assert!(!tree.give_out_listed(&before.list[0]).1);
    assert!(tree.give_out_listed(&before.list[1]).1);
}

#[test]
fn the_longest_remembered_directories_are_forgotten_first() {
    let (tree, asked) = tree();
    let root: Vec<_> = (0..3).map(|disk| entry(&format!("d{disk}"), 2 + disk, Content::Directory)).collect();
    let _ = lookup(&tree, ROOT, "d0");
    tree.answer("", directory(ROOT, root));
    for disk in 0..3 {
        assert_eq!(lookup(&tree, ROOT, &format!("d{disk}")).recv().unwrap(), Ok(2 + disk));
        let _ = lookup(&tree, 2 + disk, "0");
        let many =
            (0..ENTRIES_MAX / 2 - 2).map(|at| entry(&at.to_string(), 1000 + at as u64, Content::Directory));
        tree.answer(&format!("d{disk}"), directory(2 + disk, many.collect()));
    }
    let asked_before = asked.try_iter().count();
    assert_eq!(asked_before, 4);
    let _ = lookup(&tree, 4, "1");
    assert_eq!(asked.try_iter().count(), 0);
    let _ = lookup(&tree, 2, "1");
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), ["d0"]);
}

#[test]
fn names_that_no_file_may_have_are_left_out() {
    let (tree, _asked) = tree();
    let found = [lookup(&tree, ROOT, "a/b"), lookup(&tree, ROOT, "")];
    let names = ["a/b", "", "a", "a"];
    let entries = names.iter().zip(2..).map(|(name, ino)| entry(name, ino, Content::Directory)).collect();
    tree.answer("", directory(ROOT, entries));
    assert!(found.iter().all(|found| found.recv().unwrap() == Err(Errno::NOENT)));
    assert_eq!(lookup(&tree, ROOT, "a").recv().unwrap(), Ok(4));
}
