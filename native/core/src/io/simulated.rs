//! Files in memory with what a crash does to them, for tests that look at every instant.
//!
//! The model is as unkind as POSIX allows. Content that was not synced may be lost, kept or torn by
//! sectors, in any order; a name that was made, moved or removed may be there or not until its
//! directory was synced, and syncing a file does nothing for its name. Only a rename within one
//! directory is one change. A sync that fails forgets what it had to write: it says so once, and
//! later ones succeed.
//!
//! Every operation has a number, so a [`Fault`] can be put at each in turn. Everything is the same
//! again for the same seeds and the same order of operations.

mod medium;

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{File, FileIdentity, Files, Lock, Mode, ReadAt};
use medium::{Content, Names, Numbers};

/// What goes wrong, and when: operations are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Before this operation the world stops: it and all later ones fail.
    Stop {
        /// Its number.
        at: u64,
    },
    /// In the middle of this operation the world stops.
    Tear {
        /// Its number.
        at: u64,
    },
    /// This operation alone fails.
    Fail {
        /// Its number.
        at: u64,
        /// As `libc::EIO`.
        errno: i32,
    },
    /// From this operation on there is no space: what needs some fails with ENOSPC.
    Full {
        /// Its number.
        at: u64,
    },
}

impl Fault {
    fn is_at(self, number: u64, call: Call) -> bool {
        match self {
            Fault::Stop { at } | Fault::Tear { at } | Fault::Fail { at, .. } => at == number,
            Fault::Full { at } => at <= number && call.takes_space(),
        }
    }
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the calls of the traits")]
pub enum Call {
    Open,
    Create,
    ReadAt,
    Write,
    SetLen,
    Sync,
    Len,
    Lock,
    Identity,
    ReadFile,
    List,
    Rename,
    Unlink,
    CreateDirectory,
    SyncDirectory,
}

impl Call {
    /// Whether it can fail for want of space.
    #[must_use]
    pub fn takes_space(self) -> bool {
        use Call::{Create, CreateDirectory, Rename, Sync, SyncDirectory, Write};
        matches!(self, Create | Write | Sync | Rename | CreateDirectory | SyncDirectory)
    }
}

/// [`Files`] as in the module. Clones are the same file system.
#[derive(Clone)]
pub struct SimulatedFiles {
    world: Arc<Mutex<World>>,
}

#[derive(Clone)]
struct World {
    names: Names,
    nodes: BTreeMap<u64, Node>,
    next_node: u64,
    numbers: Numbers,
    faults: Vec<Fault>,
    is_stopped: bool,
    calls: Vec<(Call, PathBuf)>,
}

#[derive(Clone)]
enum Node {
    Directory,
    File(Content, Locks),
}

/// Who holds a file locked: any number that share it, or one alone.
#[derive(Clone, Default)]
struct Locks {
    shared: usize,
    exclusive: bool,
}

/// How an operation goes.
enum Fate {
    Goes,
    /// A part of it is done; then this is what the caller hears.
    Breaks(Error),
}

struct SimulatedFile {
    world: Arc<Mutex<World>>,
    node: u64,
    path: PathBuf,
    held: Mutex<Option<Lock>>,
}

const ROOT: u64 = 1;

impl SimulatedFiles {
    /// An empty file system with a root directory, in which nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(World {
            names: Names::with_root(ROOT),
            nodes: BTreeMap::from([(ROOT, Node::Directory)]),
            next_node: ROOT + 1,
            numbers: Numbers(seed),
            faults: Vec::new(),
            is_stopped: false,
            calls: Vec::new(),
        })
    }

    /// Counts operations from 0 again and has these go wrong, and nothing else. The seed says what a
    /// fault leaves undone.
    pub fn plan(&self, faults: &[Fault], seed: u64) {
        let mut world = self.lock();
        world.numbers = Numbers(seed);
        world.faults = faults.to_vec();
        world.calls.clear();
    }

    /// The operations so far, each with its path.
    #[must_use]
    pub fn calls(&self) -> Vec<(Call, PathBuf)> {
        self.lock().calls.clone()
    }

    /// The file system as other processes find it after the death of all that used this one:
    /// nothing is lost, and nobody holds a lock. It is another one from then on.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut world = self.lock().clone();
        world.is_stopped = false;
        world.faults.clear();
        world.calls.clear();
        for node in world.nodes.values_mut() {
            if let Node::File(_, locks) = node {
                *locks = Locks::default();
            }
        }
        let names = &world.names;
        world.nodes.retain(|&node, _| names.leads_to(node));
        Self::of(world)
    }

    /// The file system as it stands when power comes back after a cut now. It is another one.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let files = self.after_kill();
        {
            let mut world = files.lock();
            let World { names, nodes, numbers, .. } = &mut *world;
            *numbers = Numbers(seed);
            names.crash(numbers, |node| matches!(nodes.get(&node), Some(Node::Directory)));
            for node in nodes.values_mut() {
                if let Node::File(content, _) = node {
                    content.crash(numbers);
                }
            }
        }
        files
    }

    /// What of a file is on the medium for certain; `None` where its name is not.
    #[must_use]
    pub fn stored(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.lock();
        match world.nodes.get(&world.names.stored(path)?) {
            Some(Node::File(content, _)) => Some(content.stored().to_vec()),
            _ => None,
        }
    }

    fn of(world: World) -> Self {
        Self { world: Arc::new(Mutex::new(world)) }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

impl World {
    /// Numbers an operation and says how it goes.
    fn begin(&mut self, call: Call, path: &Path) -> Result<Fate> {
        let stopped = || Error::other("the world has stopped");
        if self.is_stopped {
            return Err(stopped());
        }
        let number = self.calls.len() as u64;
        self.calls.push((call, path.to_owned()));
        let fault = self.faults.iter().copied().find(|fault| fault.is_at(number, call));
        match fault {
            None => Ok(Fate::Goes),
            Some(Fault::Stop { .. }) => {
                self.is_stopped = true;
                Err(stopped())
            }
            Some(Fault::Tear { .. }) => {
                self.is_stopped = true;
                Ok(Fate::Breaks(stopped()))
            }
            Some(Fault::Fail { errno, .. }) => Ok(Fate::Breaks(Error::from_raw_os_error(errno))),
            Some(Fault::Full { .. }) => Ok(Fate::Breaks(Error::from_raw_os_error(libc::ENOSPC))),
        }
    }

    /// For operations that are done or not: where the world stops in their middle, either.
    fn begin_whole(&mut self, call: Call, path: &Path) -> Result<Result<()>> {
        match self.begin(call, path)? {
            Fate::Goes => Ok(Ok(())),
            Fate::Breaks(error) if self.is_stopped && self.numbers.coin() => Ok(Err(error)),
            Fate::Breaks(error) => Err(error),
        }
    }

    fn file(&mut self, node: u64) -> Result<(&mut Content, &mut Locks, &mut Numbers)> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(content, locks)) => Ok((content, locks, &mut self.numbers)),
            Some(Node::Directory) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn find(&self, path: &Path) -> Result<u64> {
        self.names.find(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn find_directory(&self, path: &Path) -> Result<()> {
        match self.nodes.get(&self.find(path)?) {
            Some(Node::Directory) => Ok(()),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> Result<u64> {
        self.find_directory(path.parent().unwrap_or(path))?;
        let number = self.next_node;
        self.next_node += 1;
        self.nodes.insert(number, node);
        self.names.set(path, number);
        Ok(number)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn to_index(offset: u64) -> Result<usize> {
    usize::try_from(offset).map_err(|_| Error::from(ErrorKind::FileTooLarge))
}

fn identity_of(node: u64) -> FileIdentity {
    FileIdentity { device: 0, inode: node }
}

impl SimulatedFile {
    /// For operations that change nothing.
    fn look<T>(&self, call: Call, look: impl FnOnce(&mut Content, &mut Locks) -> T) -> Result<T> {
        let mut world = lock(&self.world);
        world.begin_whole(call, &self.path)??;
        let (content, locks, _) = world.file(self.node)?;
        Ok(look(content, locks))
    }

    fn release(locks: &mut Locks, held: Option<Lock>) {
        match held {
            Some(Lock::Shared) => locks.shared -= 1,
            Some(Lock::Exclusive) => locks.exclusive = false,
            None => {}
        }
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if let Ok((_, locks, _)) = lock(&self.world).file(self.node) {
            Self::release(locks, lock(&self.held).take());
        }
    }
}

impl ReadAt for SimulatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> Result<usize> {
        let start = to_index(offset)?;
        self.look(Call::ReadAt, |content, _| {
            let rest = content.cached().get(start..).unwrap_or(&[]);
            let len = rest.len().min(into.len());
            if let (Some(to), Some(from)) = (into.get_mut(..len), rest.get(..len)) {
                to.copy_from_slice(from);
            }
            len
        })
    }
}

impl File for SimulatedFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let (start, mut world) = (to_index(offset)?, lock(&self.world));
        let fate = world.begin(Call::Write, &self.path)?;
        let (content, _, numbers) = world.file(self.node)?;
        match fate {
            Fate::Goes => content.write(start, bytes),
            Fate::Breaks(error) => {
                let done = numbers.below(bytes.len() + 1);
                content.write(start, bytes.get(..done).unwrap_or(&[]));
                return Err(error);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let (len, mut world) = (to_index(len)?, lock(&self.world));
        let heard = world.begin_whole(Call::SetLen, &self.path)?;
        world.file(self.node)?.0.set_len(len);
        heard
    }

    fn sync(&self) -> Result<()> {
        let mut world = lock(&self.world);
        let fate = world.begin(Call::Sync, &self.path)?;
        let is_stopped = world.is_stopped;
        let (content, _, numbers) = world.file(self.node)?;
        match fate {
            Fate::Goes => content.sync(),
            // A crash says what is left.
            Fate::Breaks(error) if is_stopped => return Err(error),
            Fate::Breaks(error) => {
                content.fail_sync(numbers);
                return Err(error);
            }
        }
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        self.look(Call::Len, |content, _| content.cached().len() as u64)
    }

    fn try_flock(&self, wanted: Lock) -> Result<bool> {
        self.look(Call::Lock, |_, locks| {
            let mut held = lock(&self.held);
            Self::release(locks, held.take());
            let is_free = match wanted {
                Lock::Shared => !locks.exclusive,
                Lock::Exclusive => !locks.exclusive && locks.shared == 0,
            };
            if is_free {
                *held = Some(wanted);
                match wanted {
                    Lock::Shared => locks.shared += 1,
                    Lock::Exclusive => locks.exclusive = true,
                }
            }
            is_free
        })
    }

    fn identity(&self) -> Result<FileIdentity> {
        self.look(Call::Identity, |_, _| identity_of(self.node))
    }

    fn start_writeback(&self, _: u64, _: u64) {}
}

impl Files for SimulatedFiles {
    fn open(&self, path: &Path, mode: Mode) -> Result<Box<dyn File>> {
        let mut world = self.lock();
        let found = world.names.find(path);
        let makes = mode != Mode::Read && found.is_none();
        let heard = world.begin_whole(if makes { Call::Create } else { Call::Open }, path)?;
        let node = match (mode, found) {
            (Mode::CreateNew, Some(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (Mode::Read, None) => return Err(ErrorKind::NotFound.into()),
            (_, Some(node)) => node,
            (_, None) => world.make(path, Node::File(Content::default(), Locks::default()))?,
        };
        world.file(node)?;
        heard?;
        let (world, path) = (Arc::clone(&self.world), path.to_owned());
        Ok(Box::new(SimulatedFile { world, node, path, held: Mutex::default() }))
    }

    fn read(&self, path: &Path, len_max: usize) -> Result<Vec<u8>> {
        let mut world = self.lock();
        world.begin_whole(Call::ReadFile, path)??;
        let node = world.find(path)?;
        let bytes = world.file(node)?.0.cached();
        if bytes.len() > len_max { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes.to_vec()) }
    }

    fn identity(&self, path: &Path) -> Result<FileIdentity> {
        let mut world = self.lock();
        world.begin_whole(Call::Identity, path)??;
        Ok(identity_of(world.find(path)?))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let mut world = self.lock();
        world.begin_whole(Call::List, directory)??;
        world.find_directory(directory)?;
        let names = world.names.within(directory).filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut world = self.lock();
        let heard = world.begin_whole(Call::Rename, from)?;
        let node = world.find(from)?;
        world.find_directory(to.parent().unwrap_or(to))?;
        world.names.rename(from, to, node);
        heard
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let mut world = self.lock();
        let heard = world.begin_whole(Call::Unlink, path)?;
        let node = world.find(path)?;
        world.file(node)?;
        world.names.remove(path);
        heard
    }

    fn create_directory(&self, path: &Path) -> Result<()> {
        let mut world = self.lock();
        let heard = world.begin_whole(Call::CreateDirectory, path)?;
        if world.names.find(path).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        world.make(path, Node::Directory)?;
        heard
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        let mut world = self.lock();
        let fate = world.begin(Call::SyncDirectory, path)?;
        world.find_directory(path)?;
        let World { names, numbers, is_stopped, .. } = &mut *world;
        match fate {
            Fate::Goes => names.sync(path),
            Fate::Breaks(error) if *is_stopped => return Err(error),
            Fate::Breaks(error) => {
                names.fail_sync(path, numbers);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
