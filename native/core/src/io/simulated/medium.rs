//! What a file system holds in memory, what of it has reached the medium, and what a power cut
//! leaves of either.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a medium writes whole or not at all.
const SECTOR_LEN: usize = 512;
/// What may stand where a file was made longer and its bytes never came.
const STALE: u8 = 0xa5;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone)]
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// How much of what was not synced outlives a power cut.
#[derive(Clone, Copy)]
enum Mercy {
    Nothing,
    Everything,
    /// The first so many changes, as a journal keeps them; the next one is torn.
    First(usize),
    /// Each part for itself: changes come out of order, and are torn anywhere.
    Any,
}

impl Mercy {
    fn of(numbers: &mut Numbers, changes: usize) -> Self {
        match numbers.below(4) {
            0 => Mercy::Nothing,
            1 => Mercy::Everything,
            2 => Mercy::First(numbers.below(changes + 1)),
            _ => Mercy::Any,
        }
    }
}

#[derive(Clone)]
enum Edit {
    Write { offset: usize, bytes: Arc<[u8]> },
    Length(usize),
}

/// The bytes of a file. Clones share what they have in common.
#[derive(Clone, Default)]
pub(super) struct Content {
    /// What reads give.
    cached: Arc<Vec<u8>>,
    /// What is on the medium.
    stored: Arc<Vec<u8>>,
    /// What is still to be written there.
    dirty: Vec<Edit>,
    /// The medium lacks more than that: a sync has failed.
    is_lossy: bool,
}

impl Content {
    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn stored(&self) -> &[u8] {
        &self.stored
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.edit(Edit::Write { offset, bytes: bytes.into() });
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len != self.cached.len() {
            self.edit(Edit::Length(len));
        }
    }

    fn edit(&mut self, edit: Edit) {
        edit.apply(Arc::make_mut(&mut self.cached));
        self.dirty.push(edit);
    }

    pub(super) fn sync(&mut self) {
        if self.is_lossy {
            let stored = Arc::make_mut(&mut self.stored);
            self.dirty.iter().for_each(|edit| edit.apply(stored));
        } else {
            self.stored = Arc::clone(&self.cached);
        }
        self.dirty.clear();
    }

    /// What was to be written is forgotten, and only this call tells. Memory keeps it as if it had
    /// been written (ext4, xfs), or goes back to what the medium has (btrfs).
    pub(super) fn fail_sync(&mut self, numbers: &mut Numbers) {
        self.store_some(numbers);
        self.dirty.clear();
        self.is_lossy = numbers.coin();
        if !self.is_lossy {
            self.cached = Arc::clone(&self.stored);
        }
    }

    pub(super) fn crash(&mut self, numbers: &mut Numbers) {
        self.store_some(numbers);
        *self =
            Self { cached: Arc::clone(&self.stored), stored: Arc::clone(&self.stored), ..Self::default() };
    }

    fn store_some(&mut self, numbers: &mut Numbers) {
        if self.dirty.is_empty() {
            return;
        }
        let (mercy, filler) = (Mercy::of(numbers, self.dirty.len()), if numbers.coin() { 0 } else { STALE });
        let stored = Arc::make_mut(&mut self.stored);
        for (at, edit) in self.dirty.iter().enumerate() {
            match mercy {
                Mercy::Nothing => {}
                Mercy::Everything => edit.apply(stored),
                Mercy::First(count) if at < count => edit.apply(stored),
                Mercy::First(count) if at == count => {
                    let sectors = numbers.below(edit.sector_count() + 1);
                    edit.apply_sectors(stored, filler, |sector| sector < sectors);
                }
                Mercy::First(_) => {}
                Mercy::Any => edit.apply_sectors(stored, filler, |_| numbers.coin()),
            }
        }
        // The length may have been written before the bytes.
        if matches!(mercy, Mercy::Any) && numbers.coin() {
            lengthen(stored, self.cached.len(), filler);
        }
    }
}

impl Edit {
    fn apply(&self, to: &mut Vec<u8>) {
        self.apply_sectors(to, 0, |_| true);
    }

    fn sector_count(&self) -> usize {
        match self {
            Edit::Length(_) => 1,
            Edit::Write { offset, bytes } => {
                (offset + bytes.len()).div_ceil(SECTOR_LEN) - offset / SECTOR_LEN
            }
        }
    }

    /// Writes the sectors that `takes` says, which it is asked in order by their number here.
    fn apply_sectors(&self, to: &mut Vec<u8>, filler: u8, mut takes: impl FnMut(usize) -> bool) {
        match self {
            Edit::Length(len) => {
                if takes(0) {
                    to.truncate(*len);
                    lengthen(to, *len, 0);
                }
            }
            Edit::Write { offset, bytes } => {
                let mut start = *offset;
                for sector in 0..self.sector_count() {
                    let end = ((start / SECTOR_LEN + 1) * SECTOR_LEN).min(offset + bytes.len());
                    if takes(sector) {
                        put(to, start, bytes.get(start - offset..end - offset).unwrap_or(&[]), filler);
                    }
                    start = end;
                }
            }
        }
    }
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8], filler: u8) {
    lengthen(to, offset, filler);
    lengthen(to, offset + bytes.len(), 0);
    if let Some(place) = to.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// As `resize`, which takes its time without optimisation.
fn lengthen(bytes: &mut Vec<u8>, len: usize, filler: u8) {
    if let Some(more) = len.checked_sub(bytes.len()).filter(|&more| more > 0) {
        bytes.extend_from_slice(&vec![filler; more]);
    }
}

#[derive(Clone)]
enum NameEdit {
    Set(PathBuf, u64),
    Remove(PathBuf),
    Move { from: PathBuf, to: PathBuf, node: u64 },
}

/// Which name leads to which file or directory. Directories are never renamed, so whole paths do.
#[derive(Clone, Default)]
pub(super) struct Names {
    seen: BTreeMap<PathBuf, u64>,
    stored: BTreeMap<PathBuf, u64>,
    dirty: Vec<NameEdit>,
}

impl Names {
    /// With a root directory.
    pub(super) fn with_root(node: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), node)]);
        Self { seen: root.clone(), stored: root, dirty: Vec::new() }
    }

    pub(super) fn find(&self, path: &Path) -> Option<u64> {
        self.seen.get(path).copied()
    }

    pub(super) fn stored(&self, path: &Path) -> Option<u64> {
        self.stored.get(path).copied()
    }

    /// Paths of what is in a directory.
    pub(super) fn within<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.seen.keys().map(PathBuf::as_path).filter(move |path| path.parent() == Some(directory))
    }

    pub(super) fn set(&mut self, path: &Path, node: u64) {
        self.edit(NameEdit::Set(path.to_owned(), node));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.edit(NameEdit::Remove(path.to_owned()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, node: u64) {
        self.edit(NameEdit::Move { from: from.to_owned(), to: to.to_owned(), node });
    }

    fn edit(&mut self, edit: NameEdit) {
        edit.apply(&mut self.seen);
        self.dirty.push(edit);
    }

    /// Stores what changed in a directory. Of a file that came from another directory, the old name
    /// may then still be there as well.
    pub(super) fn sync(&mut self, directory: &Path) {
        self.flush(directory, || true);
    }

    /// As [`Names::sync`], but some changes are forgotten, and only this call tells.
    pub(super) fn fail_sync(&mut self, directory: &Path, numbers: &mut Numbers) {
        self.flush(directory, || numbers.coin());
    }

    fn flush(&mut self, directory: &Path, mut keeps: impl FnMut() -> bool) {
        let is_in = |path: &Path| path.parent() == Some(directory);
        for edit in std::mem::take(&mut self.dirty) {
            let (is_whole, arrives) = match &edit {
                NameEdit::Set(path, _) | NameEdit::Remove(path) => (is_in(path), false),
                NameEdit::Move { from, to, .. } => (is_in(from), is_in(to)),
            };
            match edit {
                edit if is_whole => {
                    if keeps() {
                        edit.apply(&mut self.stored);
                    }
                }
                NameEdit::Move { from, to, node } if arrives => {
                    if keeps() {
                        self.stored.insert(to, node);
                    }
                    self.dirty.push(NameEdit::Remove(from));
                }
                other => self.dirty.push(other),
            }
        }
    }

    pub(super) fn crash(&mut self, numbers: &mut Numbers, is_directory: impl Fn(u64) -> bool) {
        let mercy = Mercy::of(numbers, self.dirty.len());
        for (at, edit) in std::mem::take(&mut self.dirty).into_iter().enumerate() {
            let survives = match mercy {
                Mercy::Nothing => false,
                Mercy::Everything => true,
                Mercy::First(count) => at < count,
                Mercy::Any => numbers.coin(),
            };
            if survives {
                edit.apply(&mut self.stored);
            }
        }
        self.seen.clear();
        // A parent stands before what is in it.
        for (path, node) in std::mem::take(&mut self.stored) {
            let parent = path.parent().map(|parent| self.seen.get(parent).copied());
            if parent.is_none_or(|parent| parent.is_some_and(&is_directory)) {
                self.seen.insert(path, node);
            }
        }
        self.stored = self.seen.clone();
    }

    /// Whether any name leads to a node, or may after a crash.
    pub(super) fn leads_to(&self, node: u64) -> bool {
        let is_node = |&other: &u64| other == node;
        self.seen.values().any(is_node)
            || self.stored.values().any(is_node)
            || self.dirty.iter().any(|edit| match edit {
                NameEdit::Set(_, other) | NameEdit::Move { node: other, .. } => is_node(other),
                NameEdit::Remove(_) => false,
            })
    }
}

impl NameEdit {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameEdit::Set(path, node) => {
                names.insert(path.clone(), *node);
            }
            NameEdit::Remove(path) => {
                names.remove(path);
            }
            NameEdit::Move { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}
