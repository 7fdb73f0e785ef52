//! LVM2 physical volumes; what lies in them is the business of [`lvm`](crate::probe::lvm).

use crate::probe::lvm::label::Label;
use crate::probe::model::FileSystem;
use crate::probe::reader::Reader;

pub(super) fn decode(reader: &Reader<'_>) -> Option<FileSystem> {
    let label = Label::read(reader)?;
    Some(FileSystem {
        uuid: Some(label.id.hyphened()),
        size_bytes: Some(label.device_bytes),
        ..FileSystem::of_kind("lvm2")
    })
}
