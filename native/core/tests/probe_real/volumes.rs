//! LVM2 volumes by LVM's own tools, without device mapper.
