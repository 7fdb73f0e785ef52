//! Open revisions and surveys: reads on Node's thread pool, or at once where all is in memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use cairn_core::disk::Disk;
use cairn_core::image::{ByteExtent, Image};
use cairn_core::map::ExtentState;
use cairn_core::probe::{self, Survey};
use cairn_core::records::{CacheBudget, Caches, Records};
use cairn_core::source::PathSource;
use cairn_core::{Error, Result};
use napi::bindgen_prelude::{AsyncTask, Buffer};
use napi_derive::napi;
use serde::Serialize;

use crate::disks::{os_files, parse_revision, to_value};
use crate::errors::{failure, guarded};
use crate::jobs::{to_number, to_size};
use crate::pool::{Json, Pooled, pooled};

/// Where a disk's segments lie and the disk's id: another disk may take the place of a removed one.
type DiskKey = (PathBuf, String);

/// What all open images of all disks keep in memory: bounded once, for the process.
static CACHES: LazyLock<Arc<Caches>> = LazyLock::new(|| Arc::new(Caches::new(CacheBudget::default())));

/// The records that all open images of a disk share, for as long as one is open.
static OPEN: LazyLock<Mutex<HashMap<DiskKey, Weak<Records>>>> = LazyLock::new(Mutex::default);

fn records_of(disk: &Disk) -> Arc<Records> {
    let segments = disk.paths().segments();
    let key = (segments.clone(), disk.file().id.clone());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|_, records| records.strong_count() > 0);
    if let Some(records) = open.get(&key).and_then(Weak::upgrade) {
        return records;
    }
    let records = Arc::new(Records::new(os_files(), segments, Arc::clone(&CACHES)));
    open.insert(key, Arc::downgrade(&records));
    records
}

pub(crate) fn open_now(disk_dir: &str, revision: &str) -> Result<Image> {
    let disk = Disk::open_to_read(os_files(), Path::new(disk_dir))?;
    let records = records_of(&disk);
    Image::open(&disk, records, &parse_revision(revision)?)
}

/// Closes files of segments that were collected since they were opened, of all disks that are read:
/// a few system calls for each that is open.
#[napi(ts_return_type = "Promise<void>")]
pub fn close_replaced_segments() -> AsyncTask<Pooled<()>> {
    pooled(|| {
        let open: Vec<_> = {
            let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().filter_map(Weak::upgrade).collect()
        };
        open.iter().for_each(|records| records.close_replaced());
        Ok(())
    })
}

/// An open revision.
#[napi]
pub struct NativeImage {
    image: Mutex<Option<Image>>,
    size_bytes: u64,
    allocated_bytes: u64,
}

/// Contiguous bytes: data, or zeros.
#[napi(object)]
pub struct NativeExtent {
    /// First byte.
    pub offset: f64,
    /// Bytes.
    pub length: f64,
    /// data or zero
    pub state: String,
}

/// Opens a revision.
#[napi(ts_return_type = "Promise<NativeImage>")]
pub fn open_image(disk_dir: String, revision: String) -> AsyncTask<Pooled<NativeImage>> {
    pooled(move || {
        let image = open_now(&disk_dir, &revision)?;
        let (size_bytes, allocated_bytes) = (image.geometry().size_bytes(), image.allocated_bytes());
        Ok(NativeImage { image: Mutex::new(Some(image)), size_bytes, allocated_bytes })
    })
}

#[napi]
impl NativeImage {
    /// Bytes of the image.
    #[napi(getter)]
    pub fn size_bytes(&self) -> f64 {
        to_number(self.size_bytes)
    }

    /// Bytes in blocks that are stored.
    #[napi(getter)]
    pub fn allocated_bytes(&self) -> f64 {
        to_number(self.allocated_bytes)
    }

    /// Reads at once when every block is decoded already, else gives null and has read nothing.
    #[napi]
    pub fn read_cached(&self, mut into: Buffer, offset: f64) -> napi::Result<Option<u32>> {
        let image = self.open()?;
        guarded(|| Ok(image.read_cached(&mut into, to_size(offset)?)?.map(to_count)))
    }

    /// Fills `into` from `offset` on a thread; JavaScript must leave the buffer alone meanwhile.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn read(&self, mut into: Buffer, offset: f64) -> napi::Result<AsyncTask<Pooled<u32>>> {
        let image = self.open()?;
        Ok(pooled(move || Ok(to_count(image.read(&mut into, to_size(offset)?)?))))
    }

    /// States from `offset` on, merged where equal, at most `limit`.
    #[napi(ts_return_type = "Promise<Array<NativeExtent>>")]
    pub fn extents(
        &self,
        offset: f64,
        length_max: f64,
        limit: u32,
    ) -> napi::Result<AsyncTask<Pooled<Vec<NativeExtent>>>> {
        let image = self.open()?;
        Ok(pooled(move || {
            let found = image.extents(to_size(offset)?, to_size(length_max)?, limit as usize)?;
            Ok(found.into_iter().map(to_extent).collect())
        }))
    }

    /// Bytes in the stored blocks that a range touches.
    #[napi(ts_return_type = "Promise<number>")]
    pub fn allocated_in(&self, offset: f64, length: f64) -> napi::Result<AsyncTask<Pooled<f64>>> {
        let image = self.open()?;
        Ok(pooled(move || Ok(to_number(image.allocated_in(to_size(offset)?, to_size(length)?)?))))
    }

    /// What stands on the disk.
    #[napi(ts_return_type = "Promise<unknown>")]
    pub fn survey(&self) -> napi::Result<AsyncTask<Pooled<Json>>> {
        let image = self.open()?;
        Ok(pooled(move || to_value(&probe::survey(&image, image.geometry().size_bytes())).map(Json)))
    }

    /// Gives memory and descriptors back once no read is under way. Idempotent.
    #[napi]
    pub fn close(&self) {
        self.image.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn open(&self) -> napi::Result<Image> {
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner).clone();
        image.ok_or_else(|| failure(&Error::InvalidArgument("the image is closed".into())))
    }
}

/// Changed extents from one revision of a disk to another, from `offset` on, at most `limit`.
#[napi(ts_return_type = "Promise<Array<NativeExtent>>")]
pub fn diff_revisions(
    disk_dir: String,
    from: String,
    to: String,
    offset: f64,
    limit: u32,
) -> AsyncTask<Pooled<Vec<NativeExtent>>> {
    pooled(move || {
        let (from, to) = (open_now(&disk_dir, &from)?, open_now(&disk_dir, &to)?);
        let found = from.changes_to(&to, to_size(offset)?, limit as usize)?;
        Ok(found.into_iter().map(to_extent).collect())
    })
}

/// What stands on a file or block device, for a program and for a person.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Surveyed {
    #[serde(flatten)]
    survey: Survey,
    has_content: bool,
    code: String,
    lines: Vec<String>,
}

/// What stands on a file or block device, whose serial number the caller knows if there is one.
#[napi(ts_return_type = "Promise<unknown>")]
pub fn survey_path(path: String, serial: Option<String>) -> AsyncTask<Pooled<Json>> {
    pooled(move || {
        let source = PathSource::open(Path::new(&path))?;
        let survey = probe::survey(&source, source.size_bytes());
        let code = survey.code(source.size_bytes(), serial.as_deref());
        let (has_content, lines) = (survey.has_content(), survey.lines());
        to_value(&Surveyed { survey, has_content, code, lines }).map(Json)
    })
}

fn to_extent(extent: ByteExtent) -> NativeExtent {
    let state = match extent.state {
        ExtentState::Data => "data",
        ExtentState::Zero => "zero",
    };
    NativeExtent { offset: to_number(extent.offset), length: to_number(extent.len), state: state.to_owned() }
}

fn to_count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
