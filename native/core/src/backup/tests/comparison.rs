//! What the comparison with the source says that every backup makes.

use super::*;

/// Promise 27 of docs/semantics.md.
#[test]
fn a_comparison_passes_fails_or_knows_nothing() {
    use crate::manifest::Verdict;
    let lab = Lab::new();
    let path = lab.source();
    std::fs::write(&path, noise(3, 6 << 20)).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(40 << 20).unwrap();
    let taken = lab.backup();
    let compared = taken.manifest.comparison.clone().unwrap();
    assert_eq!((compared.verdict, compared.reason, compared.differing_bytes), (Verdict::Passed, None, 0));
    assert_eq!(compared.checked_bytes, 8 << 20, "four pieces of data, four of holes");
    let image = lab.image(&taken);
    let control = Control::default();
    let compare = |source: PathSource, with_witness: bool| {
        let witness = with_witness.then(|| source.witness());
        verify::compare(&image, &Source::Block(source.into()), witness.as_ref(), None, 2, &control).unwrap()
    };
    // Every piece is another one than the revision has, holes too.
    std::fs::write(&path, noise(4, 40 << 20)).unwrap();
    let failed = compare(PathSource::open(&path).unwrap(), true);
    assert_eq!((failed.verdict, failed.differing_bytes), (Verdict::Failed, 8 << 20));
    assert_eq!(verify::trust_after(Some(&failed)), Trust::Distrusted);
    assert!(verify::say(&failed).unwrap().contains("distrusted"));
    let unknown = compare(PathSource::open(&path).unwrap(), false);
    assert_eq!(unknown.verdict, Verdict::Unverified);
    assert_eq!(verify::trust_after(Some(&unknown)), Trust::Trusted);
    // It breaks off: the source has shrunk since it was opened.
    let source = PathSource::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    let broken = compare(source, true);
    assert_eq!((broken.verdict, broken.checked_bytes), (Verdict::Unverified, 0));
    assert!(verify::say(&broken).unwrap().contains("did not come to its end"));
}

#[test]
fn what_was_written_and_does_not_read_back_fails_the_comparison() {
    let lab = Lab::new();
    std::fs::write(lab.source(), noise(5, 1 << 20)).unwrap();
    let taken = lab.backup();
    for id in lab.disk.segments().unwrap() {
        let path = path_of(&lab.disk.paths().segments(), id);
        let len = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        (200..len.saturating_sub(20_000))
            .step_by(4096)
            .for_each(|at| file.write_all_at(&[0xa5; 8], at).unwrap());
    }
    let source = PathSource::open(&lab.source()).unwrap();
    let witness = source.witness();
    let image = lab.image(&taken);
    let compared = std::thread::scope(|scope| {
        let compare = || {
            verify::compare(
                &image,
                &Source::Block(source.into()),
                Some(&witness),
                None,
                1,
                &Control::default(),
            )
            .unwrap()
        };
        scope.spawn(compare).join().unwrap()
    });
    assert_eq!(compared.verdict, crate::manifest::Verdict::Failed, "{compared:?}");
}
