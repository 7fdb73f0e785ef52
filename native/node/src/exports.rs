//! Exports of NBD servers as sources. They are opened on the thread of a job, since a server may need its
//! time, and what its bitmap tells stays on this side.

use std::ops::Range;
use std::path::Path;

use cairn_core::Result;
use cairn_core::backup::Source;
use cairn_core::job::Control;
use cairn_core::revision::RevisionId;
use cairn_core::source::nbd::NbdSource;
use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;

use crate::jobs::to_number;
use crate::pool::{Pooled, pooled};

/// An export of an NBD server.
#[napi(object)]
pub struct NativeNbd {
    /// The server's unix socket.
    pub socket: String,
    /// May be empty, which is a name like any other.
    pub export_name: String,
}

/// What opens the source of a backup.
pub(crate) type Opening = Box<dyn FnOnce(&Control) -> Result<Source> + Send>;

/// What may have changed since a revision.
pub(crate) enum Told {
    /// Anything.
    Nothing,
    /// These extents.
    Extents { from: RevisionId, extents: Vec<Range<u64>> },
    /// What a bitmap of the export says.
    Bitmap { from: RevisionId, bitmap: String },
}

impl NativeNbd {
    /// Connects.
    pub(crate) fn open(&self, bitmap: Option<&str>) -> Result<NbdSource> {
        NbdSource::open(Path::new(&self.socket), &self.export_name, bitmap)
    }
}

/// Will read an export, or of it what may have changed.
pub(crate) fn opening(export: NativeNbd, told: Told) -> Opening {
    Box::new(move |control| match told {
        Told::Nothing => export.open(None).map(|source| Source::Block(source.into())),
        Told::Extents { from, extents } => {
            let source = export.open(None)?.into();
            Ok(Source::Changes { source, extents, from })
        }
        Told::Bitmap { from, bitmap } => {
            let source = export.open(Some(&bitmap))?;
            let extents = source.dirty_extents(&|| control.check())?;
            Ok(Source::Changes { source: source.into(), extents, from })
        }
    })
}

/// Will read `source`; a diff is compared with the export, where there is one.
pub(crate) fn sampled(mut source: Source, export: Option<NativeNbd>) -> Opening {
    Box::new(move |_| {
        if let (Source::Diff { sample, .. }, Some(export)) = (&mut source, export) {
            // That nothing can be compared is no reason to take no revision; the comparison says why.
            *sample = export.open(None).map(Into::into).map_err(|error| error.to_string());
        }
        Ok(source)
    })
}

/// What a dirty bitmap of an export says may have changed: offset and length in bytes, in turn.
#[napi]
pub fn dirty_extents(nbd: NativeNbd, bitmap: String) -> AsyncTask<Pooled<Vec<f64>>> {
    pooled(move || {
        let extents = nbd.open(Some(&bitmap))?.dirty_extents(&|| Ok(()))?;
        let told = extents
            .into_iter()
            .flat_map(|extent| [to_number(extent.start), to_number(extent.end - extent.start)]);
        Ok(told.collect())
    })
}
