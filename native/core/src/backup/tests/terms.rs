//! On which terms a backup is taken: how fast its source is read, and what the revision must be at least.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::*;

fn file(lab: &Lab) -> Source {
    Source::Block(PathSource::open(&lab.source()).unwrap().into())
}

fn limited(bytes_a_second: u64) -> Arc<Control> {
    let control = Control::default();
    control.limit_rate(NonZeroU64::new(bytes_a_second).unwrap());
    Arc::new(control)
}

#[test]
fn a_limit_holds_for_all_threads_together_and_changes_nothing_else() {
    let lab = Lab::new();
    let bytes = noise(7, 3 << 20);
    std::fs::write(lab.source(), &bytes).unwrap();
    let begun = Instant::now();
    let pending = lab.prepare(file(&lab), &limited(8 << 20)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(375), "three mebibytes at eight a second");
    let taken = pending.commit().unwrap();
    assert_eq!(taken.manifest.counters.read_bytes, 3 << 20);
    assert_eq!(taken.manifest.counters.changed_bytes, 3 << 20);
    assert_eq!(lab.restored(&taken), bytes);
}

#[test]
fn a_limit_holds_for_streams() {
    let lab = Lab::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &noise(8, 2 << 20)));
    let begun = Instant::now();
    let source = Source::Stream(StreamSource::new(reader.into(), None));
    let taken = lab.prepare(source, &limited(8 << 20)).unwrap().commit().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(250), "two mebibytes at eight a second");
    feeder.join().unwrap().unwrap();
    assert_eq!(taken.manifest.counters.read_bytes, 2 << 20);
}

/// At a byte a second the hole alone would take longer than any test.
#[test]
fn holes_cost_nothing_of_a_limit() {
    let lab = Lab::new();
    let source = std::fs::File::create(lab.source()).unwrap();
    source.set_len(1 << 40).unwrap();
    let control = limited(1);
    let mut source = file(&lab);
    let feed = feed::Feed::new(&mut source, BLOCK as u32, 0, u64::MAX, &control).unwrap();
    let mut buffer = crate::source::AlignedBuffer::new(feed.piece_len());
    while feed.next(&mut buffer).unwrap().is_some() {}
    assert_eq!(feed.totals(), (1 << 40, true));
}

#[test]
fn a_cancel_is_heard_while_a_backup_waits_for_its_turn() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(9, 3 << 20)).unwrap();
    let control = limited(1);
    let ended = std::thread::scope(|scope| {
        let backup = scope.spawn(|| lab.prepare(file(&lab), &control).map(|_| ()));
        while control.progress().total_bytes != Some(3 << 20) {
            std::thread::yield_now();
        }
        control.cancel();
        backup.join().unwrap()
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
}

#[test]
fn less_than_what_is_required_is_never_committed_and_its_work_is_kept() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(10, 2 << 20)).unwrap();
    let known = |found, required| BackupParams {
        consistency: Some(found),
        require: Some(required),
        ..lab.params(file(&lab))
    };
    for (found, required) in [
        (Consistency::Live, Consistency::Snapshot),
        (Consistency::Live, Consistency::Frozen),
        (Consistency::Snapshot, Consistency::Frozen),
    ] {
        let refused = lab.prepare_as(known(found, required), &Arc::default()).map(|_| ());
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Restless { .. }), "{error}");
        assert_eq!(
            error.to_string().contains("was written to while it was read"),
            found == Consistency::Live
        );
    }
    assert!(lab.disk.revisions().unwrap().is_empty());
    let segments = lab.segment_count();
    assert!(segments > 0);
    for (found, required) in [
        (Consistency::Snapshot, Consistency::Snapshot),
        (Consistency::Frozen, Consistency::Snapshot),
        (Consistency::Frozen, Consistency::Frozen),
    ] {
        let taken = lab.prepare_as(known(found, required), &Arc::default()).unwrap().commit().unwrap();
        assert_eq!(taken.manifest.consistency, found);
    }
    let first = lab.disk.revisions().unwrap().into_iter().next().unwrap();
    let stored = lab.disk.manifest(&first).unwrap().counters.stored_bytes;
    assert!(stored < 100_000, "what was refused was not adopted: {stored} bytes were stored again");
}
