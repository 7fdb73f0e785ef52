//! Names and inode numbers: which directories are known, what the kernel holds of them, and who
//! waits for one that is not known yet.
//!
//! A directory is asked of the owner when it is first looked into; whoever needs it is parked as a
//! closure meanwhile, so no thread waits. When the owner says that directories changed, those of
//! which the kernel holds names are asked for again at once, and what vanished or became something
//! else is given to the caller as [`Invalidation`]s: the kernel may otherwise believe what it knows
//! for a long time.
//!
//! Nothing here calls out while the lock is held.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::entry::{Answer, Content, Directory, Entry, ImageEntry, ROOT};

/// Names in remembered directories, beyond which the longest remembered ones are forgotten. They are
/// asked for again when they are wanted.
const ENTRIES_MAX: usize = 1 << 17;

/// A file, directory or link. Never changes; what changes gets another node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ino: u64,
    /// The directory that holds it; the root holds itself.
    pub(crate) parent: u64,
    pub(crate) name: Box<str>,
    pub(crate) mtime: SystemTime,
    pub(crate) content: NodeContent,
}

#[derive(Debug)]
pub(crate) enum NodeContent {
    /// With its path from the root.
    Directory(Arc<str>),
    Symlink(Box<str>),
    Text(Arc<str>),
    Image(Arc<ImageEntry>),
}

/// A directory as it was at some time.
#[derive(Debug)]
pub(crate) struct Entries {
    /// In the order in which they are listed.
    pub(crate) list: Vec<Arc<Node>>,
    /// Places in the list by name, in the order of the names, which are kept once.
    by_name: Box<[u32]>,
}

impl Entries {
    fn of(list: Vec<Arc<Node>>) -> Self {
        let mut sorted: Vec<(&str, u32)> = list.iter().map(|node| &*node.name).zip(0u32..).collect();
        // Of equal names the first stays first.
        sorted.sort();
        sorted.dedup_by_key(|(name, _)| *name);
        let by_name = sorted.into_iter().map(|(_, place)| place).collect();
        Self { list, by_name }
    }

    fn get(&self, name: &str) -> Option<&Arc<Node>> {
        let node = |place: &u32| usize::try_from(*place).ok().and_then(|place| self.list.get(place));
        let found =
            self.by_name.binary_search_by(|place| node(place).map(|node| &*node.name).cmp(&Some(name)));
        self.by_name.get(found.ok()?).and_then(node)
    }
}

/// What the kernel must be told to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invalidation {
    /// A name in a directory.
    Name { parent: u64, name: Box<str> },
    /// What a node looks like, and its bytes.
    Content { ino: u64 },
    /// What a node looks like.
    Attributes { ino: u64 },
}

type Found = Result<Arc<Entries>, Errno>;
type Waiter = Box<dyn FnOnce(Found) + Send>;

#[derive(Default)]
struct Asked {
    waiters: Vec<(u64, Waiter)>,
    /// It changed since it was asked for: the answer that comes may be of before.
    again: bool,
}

/// A node that the kernel holds.
struct Known {
    node: Arc<Node>,
    /// How often its number was given out and not taken back.
    lookups: u64,
}

/// A directory of which something is remembered.
struct Held {
    path: Arc<str>,
    entries: Option<Arc<Entries>>,
    /// What the kernel holds of it.
    known: HashSet<u64>,
}

#[derive(Default)]
struct State {
    known: HashMap<u64, Known>,
    held: HashMap<u64, Held>,
    by_path: HashMap<Arc<str>, u64>,
    asked: HashMap<Arc<str>, Asked>,
    /// Directories with entries, the longest remembered first, and how many entries they have.
    order: VecDeque<u64>,
    remembered: usize,
}

/// See the module.
pub(crate) struct Tree {
    state: Mutex<State>,
    ask: Box<dyn Fn(&str) + Send + Sync>,
}

impl Tree {
    /// `ask` wants the entries of a directory.
    pub(crate) fn new(ask: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let path: Arc<str> = Arc::from("");
        let content = NodeContent::Directory(path.clone());
        let root = Node { ino: ROOT, parent: ROOT, name: "".into(), mtime: SystemTime::now(), content };
        let mut state = State::default();
        state.known.insert(ROOT, Known { node: Arc::new(root), lookups: 1 });
        state.held.insert(ROOT, Held { path: path.clone(), entries: None, known: HashSet::new() });
        state.by_path.insert(path, ROOT);
        Self { state: Mutex::new(state), ask: Box::new(ask) }
    }

    /// A node that the kernel holds.
    pub(crate) fn node(&self, ino: u64) -> Result<Arc<Node>, Errno> {
        self.lock().known.get(&ino).map(|known| known.node.clone()).ok_or(Errno::STALE)
    }

    /// Looks a name up and counts it as given out; `done` gets the node, now or when the directory is
    /// known.
    pub(crate) fn lookup(
        self: &Arc<Self>,
        parent: u64,
        name: &str,
        done: impl FnOnce(Result<Arc<Node>, Errno>) + Send + 'static,
    ) {
        let (tree, name) = (self.clone(), Box::<str>::from(name));
        self.entries(parent, move |found| {
            let node = found.and_then(|entries| entries.get(&name).cloned().ok_or(Errno::NOENT));
            done(node.map(|node| tree.give_out(&node)));
        });
    }

    /// What a directory holds, given to `done` now or when it is known.
    pub(crate) fn entries(&self, ino: u64, done: impl FnOnce(Found) + Send + 'static) {
        let mut state = self.lock();
        let path = match state.known.get(&ino).map(|known| &known.node.content) {
            Some(NodeContent::Directory(path)) => path.clone(),
            Some(_) => {
                drop(state);
                return done(Err(Errno::NOTDIR));
            }
            None => {
                drop(state);
                return done(Err(Errno::STALE));
            }
        };
        if let Some(entries) = state.held.get(&ino).and_then(|held| held.entries.clone()) {
            drop(state);
            return done(Ok(entries));
        }
        let asked = state.asked.entry(path.clone());
        let is_new = matches!(asked, std::collections::hash_map::Entry::Vacant(_));
        asked.or_default().waiters.push((ino, Box::new(done)));
        drop(state);
        if is_new {
            (self.ask)(&path);
        }
    }

    /// Counts a node of a listing as given out, and gives what the kernel shall see of it: true when
    /// the name still leads there for certain, so that the kernel may believe it for long.
    pub(crate) fn give_out_listed(&self, node: &Arc<Node>) -> (Arc<Node>, bool) {
        let mut state = self.lock();
        let current = state.held.get(&node.parent).and_then(|held| held.entries.as_ref());
        let same = current.and_then(|entries| entries.get(&node.name)).is_some_and(|now| now.ino == node.ino);
        (state.give_out(node), same)
    }

    fn give_out(&self, node: &Arc<Node>) -> Arc<Node> {
        self.lock().give_out(node)
    }

    /// The kernel gives `count` lookups of a node back.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        let mut state = self.lock();
        let Some(known) = state.known.get_mut(&ino).filter(|_| ino != ROOT) else { return };
        known.lookups = known.lookups.saturating_sub(count);
        if known.lookups > 0 {
            return;
        }
        let parent = known.node.parent;
        state.known.remove(&ino);
        if let Some(held) = state.held.get_mut(&parent) {
            held.known.remove(&ino);
        }
        state.drop_if_empty(parent);
        state.drop_if_empty(ino);
    }

    /// Paths of all directories of which something is remembered, or asked for.
    pub(crate) fn directories(&self) -> Vec<String> {
        let state = self.lock();
        let mut paths: Vec<_> = state.held.values().map(|held| held.path.to_string()).collect();
        paths.extend(
            state.asked.keys().filter(|path| !state.by_path.contains_key(*path)).map(ToString::to_string),
        );
        paths
    }

    /// What these directories hold may be something else now.
    pub(crate) fn changed(&self, paths: &[String]) {
        let mut wanted: Vec<Arc<str>> = Vec::new();
        let mut state = self.lock();
        for path in paths {
            if let Some(asked) = state.asked.get_mut(path.as_str()) {
                asked.again = true;
            }
            let Some(&ino) = state.by_path.get(path.as_str()) else { continue };
            state.forget_entries(ino);
            let held = state.held.get(&ino).filter(|held| !held.known.is_empty());
            if let Some(path) =
                held.map(|held| held.path.clone()).filter(|path| !state.asked.contains_key(path))
            {
                state.asked.insert(path.clone(), Asked::default());
                wanted.push(path);
            }
            state.drop_if_empty(ino);
        }
        drop(state);
        for path in wanted {
            (self.ask)(&path);
        }
    }

    /// Takes the answer to an ask and lets those go on who waited for it. Gives what the kernel must
    /// be told.
    pub(crate) fn answer(&self, path: &str, answer: Answer) -> Vec<Invalidation> {
        let mut state = self.lock();
        let Some((key, mut asked)) = state.asked.remove_entry(path) else { return Vec::new() };
        if asked.again {
            asked.again = false;
            state.asked.insert(key.clone(), asked);
            drop(state);
            (self.ask)(&key);
            return Vec::new();
        }
        let mut invalidations = Vec::new();
        let (ino, found) = match answer {
            Answer::Found(directory) => {
                let (ino, entries) =
                    (directory.ino, Arc::new(read(directory, &key, &mut invalidations, &mut state)));
                state.take_entries(ino, &key, &entries, &mut invalidations);
                (Some(ino), Ok(entries))
            }
            Answer::Missing => {
                state.take_nothing(&key, &mut invalidations);
                (None, Err(Errno::NOENT))
            }
            Answer::Failed => (None, Err(Errno::IO)),
        };
        drop(state);
        for (wanted, waiter) in asked.waiters {
            // Another directory of the same path is not the one that was looked into.
            waiter(if ino.is_none_or(|ino| ino == wanted) { found.clone() } else { Err(Errno::NOENT) });
        }
        invalidations
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_out(&mut self, node: &Arc<Node>) -> Arc<Node> {
        let known = self.known.entry(node.ino).or_insert_with(|| Known { node: node.clone(), lookups: 0 });
        known.lookups += 1;
        let given = known.node.clone();
        if let Some(held) = self.held.get_mut(&node.parent) {
            held.known.insert(node.ino);
        }
        given
    }

    /// Remembers what a directory holds and compares it with what the kernel knows of it.
    fn take_entries(
        &mut self,
        ino: u64,
        path: &Arc<str>,
        entries: &Arc<Entries>,
        invalidations: &mut Vec<Invalidation>,
    ) {
        // A directory that another one has taken the place of: all its names are gone.
        if let Some(&before) = self.by_path.get(path).filter(|&&before| before != ino) {
            self.lose(before, invalidations);
        }
        let held = self.held.entry(ino).or_insert_with(|| Held {
            path: path.clone(),
            entries: None,
            known: HashSet::new(),
        });
        held.entries = Some(entries.clone());
        let children: Vec<u64> = held.known.iter().copied().collect();
        self.by_path.insert(path.clone(), ino);
        self.order.push_back(ino);
        self.remembered += entries.list.len();
        for child in children {
            let Some(known) = self.known.get_mut(&child) else { continue };
            match entries.get(&known.node.name).filter(|now| now.ino == child) {
                None => {
                    invalidations.push(Invalidation::Name { parent: ino, name: known.node.name.clone() });
                    held.known.remove(&child);
                }
                Some(now) => {
                    invalidations.extend(known.difference(now));
                    known.node = now.clone();
                }
            }
        }
        while self.remembered > ENTRIES_MAX && self.order.len() > 1 {
            let Some(oldest) = self.order.front().copied() else { break };
            self.forget_entries(oldest);
            self.drop_if_empty(oldest);
        }
    }

    /// A directory is there no more.
    fn take_nothing(&mut self, path: &str, invalidations: &mut Vec<Invalidation>) {
        if let Some(&ino) = self.by_path.get(path) {
            self.lose(ino, invalidations);
        }
    }

    /// Every name that the kernel holds of a directory leads nowhere.
    fn lose(&mut self, ino: u64, invalidations: &mut Vec<Invalidation>) {
        self.forget_entries(ino);
        let Some(held) = self.held.get_mut(&ino) else { return };
        for child in held.known.drain() {
            let Some(known) = self.known.get(&child) else { continue };
            invalidations.push(Invalidation::Name { parent: ino, name: known.node.name.clone() });
        }
        let path = held.path.clone();
        if self.by_path.get(&path) == Some(&ino) {
            self.by_path.remove(&path);
        }
        self.drop_if_empty(ino);
    }

    fn forget_entries(&mut self, ino: u64) {
        let Some(entries) = self.held.get_mut(&ino).and_then(|held| held.entries.take()) else { return };
        self.remembered = self.remembered.saturating_sub(entries.list.len());
        self.order.retain(|&each| each != ino);
    }

    fn drop_if_empty(&mut self, ino: u64) {
        let is_empty =
            self.held.get(&ino).is_some_and(|held| held.entries.is_none() && held.known.is_empty());
        if !is_empty || ino == ROOT {
            return;
        }
        if let Some(held) = self.held.remove(&ino)
            && self.by_path.get(&held.path) == Some(&ino)
        {
            self.by_path.remove(&held.path);
        }
    }
}

impl Known {
    /// What the kernel must be told where a node of the same number looks otherwise now.
    fn difference(&self, now: &Node) -> Option<Invalidation> {
        let ino = now.ino;
        match (&self.node.content, &now.content) {
            (NodeContent::Text(before), NodeContent::Text(after)) if before != after => {
                Some(Invalidation::Content { ino })
            }
            _ if self.node.mtime != now.mtime => Some(Invalidation::Attributes { ino }),
            _ => None,
        }
    }
}

/// The nodes of a directory, and its own time, which may have changed with them.
fn read(
    directory: Directory,
    path: &Arc<str>,
    invalidations: &mut Vec<Invalidation>,
    state: &mut State,
) -> Entries {
    let mtime = time_of(directory.mtime_ms);
    if let Some(known) = state.known.get_mut(&directory.ino).filter(|known| known.node.mtime != mtime) {
        let Node { ino, parent, ref name, .. } = *known.node;
        let content = NodeContent::Directory(path.clone());
        known.node = Arc::new(Node { ino, parent, name: name.clone(), mtime, content });
        invalidations.push(Invalidation::Attributes { ino });
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    let valid = directory.entries.into_iter().filter(|entry| is_name(&entry.name));
    Entries::of(valid.map(|entry| Arc::new(node_of(entry, directory.ino, path))).collect())
}

fn node_of(entry: Entry, parent: u64, path: &str) -> Node {
    let content = match entry.content {
        Content::Directory if path.is_empty() => NodeContent::Directory(entry.name.as_str().into()),
        Content::Directory => NodeContent::Directory(format!("{path}/{}", entry.name).into()),
        Content::Symlink { target } => NodeContent::Symlink(target.into()),
        Content::Text { text } => NodeContent::Text(text.into()),
        Content::Image(image) => NodeContent::Image(Arc::new(image)),
    };
    Node { ino: entry.ino, parent, name: entry.name.into(), mtime: time_of(entry.mtime_ms), content }
}

/// A time that cannot be told is the beginning of time.
fn time_of(ms: f64) -> SystemTime {
    // A cast from a float saturates, and gives 0 for what is no number.
    let since = Duration::from_millis(ms as u64);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
