//! A server that lies, one lie at a time.

use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cairn_core::Result;
use cairn_core::random::Numbers;
use cairn_core::source::Ahead;
use cairn_core::source::nbd::{Client, Context, NbdError, NbdSource, Patience};

use crate::said::{
    ACK, CONTEXT, ERROR, GO, INFO, LAST, LIST_CONTEXTS, Liar, SET_CONTEXTS, SIZE, STRUCTURED, Said,
};

/// What the client is asked to do: nothing but to connect, to read 8 KiB at 4096, or to read the bitmap `b`.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Open,
    Read,
    Dirty,
}

struct Case {
    what: &'static str,
    said: Said,
    ask: Ask,
    why: NbdError,
}

fn case(what: &'static str, ask: Ask, said: Said, why: NbdError) -> Case {
    Case { what, said, ask, why }
}

fn ask(liar: &Liar, ask: Ask) -> Result<(Vec<u8>, Vec<Range<u64>>)> {
    let source = NbdSource::open(&liar.socket(), "vm", (ask == Ask::Dirty).then_some("b"))?;
    match ask {
        Ask::Open => Ok((Vec::new(), Vec::new())),
        Ask::Read => {
            let mut into = vec![0xaa; 8192];
            source.read(&mut into, 4096).map(|()| (into, Vec::new()))
        }
        Ask::Dirty => source.dirty_extents(&|| Ok(())).map(|extents| (Vec::new(), extents)),
    }
}

fn message(text: &str) -> String {
    text.to_owned()
}

/// Up to the option that opens the export, without a bitmap.
fn plain() -> Said {
    Said::structured().context(SET_CONTEXTS, 1, "base:allocation").answer(SET_CONTEXTS, ACK, &[])
}

/// As [`plain`], with all of the handshake.
fn ready() -> Said {
    plain().export(SIZE, 3).answer(GO, ACK, &[])
}

fn handshakes() -> Vec<Case> {
    use Ask::{Dirty, Open};
    let old = 0x0000_4202_8186_1253_u64.to_be_bytes();
    let list_end = |said: Said| said.answer(LIST_CONTEXTS, ACK, &[]);
    let without_end = (0..1024).fold(plain(), |said, _| said.answer(GO, INFO, &[0, 9]));
    vec![
        case("nothing", Open, Said::default(), NbdError::Closed),
        case("another protocol", Open, Said::default().raw(b"SSH-2.0-OpenSSH_9.2\r\n"), NbdError::Greeting),
        case("half a greeting", Open, Said::default().raw(b"NBDMAGICIHAVE"), NbdError::Closed),
        case("the old handshake", Open, Said::default().raw(b"NBDMAGIC").raw(&old), NbdError::OldHandshake),
        case("the first new handshake", Open, Said::greeting(0), NbdError::OldHandshake),
        case("no answer", Open, Said::greeting(3), NbdError::Closed),
        case(
            "an answer to another option",
            Open,
            Said::greeting(3).answer(GO, ACK, &[]),
            NbdError::StrayAnswer,
        ),
        case("no magic in an answer", Open, Said::greeting(3).raw(&[7; 20]), NbdError::StrayAnswer),
        case(
            "data that belong to nothing",
            Open,
            Said::greeting(3).answer(STRUCTURED, ACK, &[1]),
            NbdError::AnswerLength,
        ),
        case(
            "an unknown kind of answer",
            Open,
            Said::greeting(3).answer(STRUCTURED, 7, &[]),
            NbdError::StrayAnswer,
        ),
        case("TLS", Open, Said::greeting(3).answer(STRUCTURED, ERROR | 5, b"please"), NbdError::Tls),
        case(
            "a message of 4 GiB",
            Open,
            Said::greeting(3).answer_of_len(STRUCTURED, ERROR | 1, u32::MAX, &[]),
            NbdError::AnswerLength,
        ),
        case(
            "a refusal that would steer a terminal",
            Open,
            Said::greeting(3).answer(STRUCTURED, ERROR | 2, b"no \x1b[31m\n"),
            NbdError::Refused {
                wish: "use structured replies",
                code: ERROR | 2,
                message: message("no \\u{1b}[31m"),
            },
        ),
        case(
            "a short context",
            Open,
            Said::structured().answer(SET_CONTEXTS, CONTEXT, &[0; 3]),
            NbdError::AnswerLength,
        ),
        case(
            "a context of 4 GiB",
            Open,
            Said::structured().answer_of_len(SET_CONTEXTS, CONTEXT, u32::MAX, &[]),
            NbdError::AnswerLength,
        ),
        case(
            "a context that nobody asked for",
            Open,
            Said::structured().context(SET_CONTEXTS, 1, "base:other"),
            NbdError::StrayAnswer,
        ),
        case(
            "a context twice",
            Open,
            Said::structured().context(SET_CONTEXTS, 1, "base:allocation").context(
                SET_CONTEXTS,
                2,
                "base:allocation",
            ),
            NbdError::Duplicate,
        ),
        case(
            "two contexts of one number",
            Dirty,
            Said::structured()
                .context(SET_CONTEXTS, 1, "base:allocation")
                .context(SET_CONTEXTS, 1, "qemu:dirty-bitmap:b")
                .answer(SET_CONTEXTS, ACK, &[]),
            NbdError::Duplicate,
        ),
        case(
            "no such bitmap, but others",
            Dirty,
            list_end(plain().context(LIST_CONTEXTS, 0, "qemu:dirty-bitmap:x\x1b").context(
                LIST_CONTEXTS,
                0,
                "base:other",
            )),
            NbdError::NoBitmap { name: message("b"), there: vec![message("x\\u{1b}")] },
        ),
        case(
            "a bitmap of a server without structured replies",
            Dirty,
            Said::greeting(3).answer(STRUCTURED, ERROR | 1, &[]),
            NbdError::NoBitmap { name: message("b"), there: Vec::new() },
        ),
        case(
            "no such export",
            Open,
            plain().answer(GO, ERROR | 6, b"unknown"),
            NbdError::NoExport { message: message("unknown") },
        ),
        case("no size", Open, plain().answer(GO, ACK, &[]), NbdError::NoSize),
        case("a size twice", Open, plain().export(SIZE, 3).export(SIZE, 3), NbdError::Duplicate),
        case("a size beyond all disks", Open, plain().export(1 << 60, 3), NbdError::Size),
        case("no flags", Open, plain().export(SIZE, 0), NbdError::Flags),
        case("information of no kind", Open, plain().answer(GO, INFO, &[0]), NbdError::AnswerLength),
        case("half a size", Open, plain().answer(GO, INFO, &[0; 11]), NbdError::AnswerLength),
        case(
            "a name of 4 GiB",
            Open,
            plain().answer_of_len(GO, INFO, u32::MAX, &[0, 1]),
            NbdError::AnswerLength,
        ),
        case("information without end", Open, without_end, NbdError::TooManyAnswers),
        case("requests of three bytes", Open, plain().sizes(3, 4096, 1 << 20), NbdError::RequestSizes),
        case(
            "requests of 128 KiB at least",
            Open,
            plain().sizes(1 << 17, 1 << 17, 1 << 20),
            NbdError::RequestSizes,
        ),
        case(
            "requests that are longer than they may be",
            Open,
            plain().sizes(4096, 4096, 512),
            NbdError::RequestSizes,
        ),
        case("requests of no length", Open, plain().sizes(0, 4096, 1 << 20), NbdError::RequestSizes),
    ]
}

fn reads() -> Vec<Case> {
    let read = |what, said, why| case(what, Ask::Read, said, why);
    let eio = |text: &str| NbdError::Server { code: 5, message: message(text) };
    let errors = (0..65).fold(ready(), |said, _| said.failure(0, 1, 5, "again"));
    vec![
        read("nothing", ready(), NbdError::Closed),
        read("no magic", ready().raw(&[7; 20]), NbdError::ReplyMagic),
        read("a reply to another request", ready().data(LAST, 2, 4096, &[1; 8192]), NbdError::StrayReply),
        read("unknown flags", ready().chunk(2, 1, 1, &[0; 16]), NbdError::Flags),
        read("an unknown kind", ready().chunk(LAST, 7, 1, &[]), NbdError::ReplyKind),
        read("extents", ready().extents(LAST, 1, 1, &[(4096, 0)]), NbdError::ReplyKind),
        read("data without a place", ready().chunk(LAST, 1, 1, &[0; 7]), NbdError::ReplyLength),
        read("data of no length", ready().data(LAST, 1, 4096, &[]), NbdError::ReplyLength),
        read("data before what was asked for", ready().data(LAST, 1, 4095, &[1; 8]), NbdError::Outside),
        read("data after it", ready().data(LAST, 1, 4096, &[1; 8193]), NbdError::Outside),
        read("data at the end of numbers", ready().data(LAST, 1, u64::MAX, &[1; 8]), NbdError::Outside),
        read(
            "data of 4 GiB",
            ready().chunk_of_len(LAST, 1, 1, u32::MAX, &4096_u64.to_be_bytes()),
            NbdError::Outside,
        ),
        read(
            "half of the data",
            ready().chunk_of_len(LAST, 1, 1, 8200, &[0, 0, 0, 0, 0, 0, 16, 0, 7]),
            NbdError::Closed,
        ),
        read("a hole of another shape", ready().chunk(LAST, 2, 1, &[0; 11]), NbdError::ReplyLength),
        read("a hole of no length", ready().hole(LAST, 1, 4096, 0), NbdError::ReplyLength),
        read("a hole after it", ready().hole(LAST, 1, 4096, 8193), NbdError::Outside),
        read(
            "the same bytes twice",
            ready().data(0, 1, 4096, &[1; 4096]).data(LAST, 1, 8191, &[2; 4097]),
            NbdError::Overlap,
        ),
        read(
            "a hole over data",
            ready().data(0, 1, 6000, &[1; 10]).hole(LAST, 1, 4096, 8192),
            NbdError::Overlap,
        ),
        read(
            "bytes left out",
            ready().data(0, 1, 4096, &[1; 4096]).hole(LAST, 1, 8193, 4095),
            NbdError::Uncovered,
        ),
        read("the end alone", ready().chunk(LAST, 0, 1, &[]), NbdError::Uncovered),
        read("an end that is none", ready().chunk(0, 0, 1, &[]), NbdError::ReplyLength),
        read("an end with data", ready().chunk(LAST, 0, 1, &[1]), NbdError::ReplyLength),
        read("an error of no kind", ready().failure(LAST, 1, 0, "well"), NbdError::ReplyLength),
        read("half an error", ready().chunk(LAST, 1 << 15 | 1, 1, &[0; 5]), NbdError::ReplyLength),
        read(
            "an error longer than its chunk",
            ready().chunk(LAST, 1 << 15 | 1, 1, &[0, 0, 0, 5, 0, 1]),
            NbdError::ReplyLength,
        ),
        read("errors without end", errors, NbdError::TooManyErrors),
        read(
            "an error after data",
            ready().data(0, 1, 4096, &[1; 8192]).failure(LAST, 1, 5, "bad \x07 sector"),
            eio("bad \\u{7} sector"),
        ),
        read("an error as a simple reply", ready().simple_reply(1, 5, &[]), eio("")),
        read("data as a simple reply", ready().simple_reply(1, 0, &[1; 8192]), NbdError::ReplyKind),
        read("a simple error", Said::simple().simple_reply(1, 5, &[]), eio("")),
        read(
            "a simple reply to another request",
            Said::simple().simple_reply(9, 0, &[1; 8192]),
            NbdError::StrayReply,
        ),
        read("half a simple reply", Said::simple().simple_reply(1, 0, &[1; 8191]), NbdError::Closed),
        read(
            "chunks where there can be none",
            Said::simple().data(LAST, 1, 4096, &[1; 8192]),
            NbdError::ReplyMagic,
        ),
    ]
}

fn extents() -> Vec<Case> {
    let dirty = |what, said, why| case(what, Ask::Dirty, said, why);
    let all = SIZE as u32;
    vec![
        dirty("nothing", Said::open(), NbdError::Closed),
        dirty("no extents", Said::open().extents(LAST, 1, 2, &[]), NbdError::Extents),
        dirty(
            "an extent of no length",
            Said::open().extents(LAST, 1, 2, &[(0, 1), (all, 0)]),
            NbdError::Extents,
        ),
        dirty(
            "extents beyond the end",
            Said::open().extents(LAST, 1, 2, &[(all, 1), (1, 1)]),
            NbdError::Extents,
        ),
        dirty("half an extent", Said::open().chunk(LAST, 5, 1, &[0, 0, 0, 2, 0, 0]), NbdError::ReplyLength),
        dirty(
            "a million extents",
            Said::open().chunk_of_len(LAST, 5, 1, 4 + 8 * ((1 << 20) + 1), &2_u32.to_be_bytes()),
            NbdError::Extents,
        ),
        dirty(
            "a context that nobody asked for",
            Said::open().extents(LAST, 1, 3, &[(all, 0)]),
            NbdError::StrayReply,
        ),
        dirty("the other context alone", Said::open().extents(LAST, 1, 1, &[(all, 0)]), NbdError::Extents),
        dirty(
            "a context twice",
            Said::open().extents(0, 1, 2, &[(all, 0)]).extents(LAST, 1, 2, &[(all, 0)]),
            NbdError::Duplicate,
        ),
        dirty("data", Said::open().data(LAST, 1, 0, &[1; 8]), NbdError::ReplyKind),
        dirty(
            "an error",
            Said::open().failure(LAST, 1, 22, "no bitmap any more"),
            NbdError::Server { code: 22, message: message("no bitmap any more") },
        ),
        dirty("a simple reply", Said::open().simple_reply(1, 0, &[]), NbdError::ReplyKind),
    ]
}

#[test]
fn whatever_a_server_says_that_is_not_so_is_one_clear_error() {
    for Case { what, said, ask: asked, why } in handshakes().into_iter().chain(reads()).chain(extents()) {
        let failure = ask(&Liar::saying(said), asked).err();
        let failure = failure.unwrap_or_else(|| panic!("{what}: believed")).to_string();
        assert!(failure.ends_with(&format!(": {why}")), "{what}: {failure}, not {why}");
    }
}

#[test]
fn whatever_else_a_server_says_is_an_error_or_fills_every_byte() {
    let seed = std::env::var("CAIRN_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    let mut numbers = Numbers::new(seed);
    let sound = Said::open()
        .hole(0, 1, 6096, 2192)
        .data(0, 1, 4096, &[1; 2000])
        .data(LAST, 1, 8288, &[2; 4000])
        .extents(0, 2, 1, &[(SIZE as u32, 0)])
        .extents(LAST, 2, 2, &[(4096, 0), (8192, 1)]);
    // Most bytes of the reply are data, which may be anything.
    let head = sound.0.len() - 4400;
    let (mut read, mut told) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = sound.0.clone();
        for _ in 0..numbers.below(4) {
            let place = if numbers.below(2) == 0 {
                numbers.below(bytes.len() as u64)
            } else {
                numbers.below(head as u64)
            };
            match numbers.below(4) {
                0 => bytes.truncate(place as usize + 1),
                1 => bytes[place as usize % 300] ^= 1 << numbers.below(8),
                _ => bytes[place as usize] = numbers.below(256) as u8,
            }
            if bytes.len() < head {
                break;
            }
        }
        let outcome = |before: u8| {
            let mut client = Client::open(&bytes[..], "vm", Some("b")).ok()?;
            let mut into = [before; 8192];
            client.read(&mut into, 4096).ok()?;
            let mut at = 0;
            let end = client.extents(Context::Bitmap, 0, SIZE, |extent, _| {
                assert!(
                    extent.start == at && at < extent.end && extent.end <= SIZE,
                    "seed {seed}, round {round}"
                );
                at = extent.end;
            });
            assert!(end.as_ref().map_or(true, |&end| end == at), "seed {seed}, round {round}");
            Some((into, end.ok()))
        };
        let found = outcome(0x55);
        assert!(found == outcome(0xaa), "seed {seed}, round {round}: a byte was not filled");
        read += u32::from(found.is_some());
        told += u32::from(found.is_some_and(|(_, end)| end.is_some()));
    }
    assert!((4000..20_000).contains(&read) && (4000..20_000).contains(&told), "{read} read, {told} told");
}

#[test]
fn chunks_come_in_any_order_and_extents_with_others() {
    let said = ready().hole(0, 1, 6096, 2192).data(0, 1, 4096, &[1; 2000]).data(LAST, 1, 8288, &[2; 4000]);
    let (bytes, _) = ask(&Liar::saying(said), Ask::Read).unwrap();
    assert!(bytes == [[1; 2000].as_slice(), &[0; 2192], &[2; 4000]].concat());
    let (bytes, _) = ask(&Liar::saying(Said::simple().simple_reply(1, 0, &[3; 8192])), Ask::Read).unwrap();
    assert!(bytes == [3; 8192]);
    let said = Said::open()
        .extents(0, 1, 1, &[(7, 0)])
        .extents(LAST, 1, 2, &[(4096, 0), (4096, 1), (4096, 2)])
        .extents(0, 2, 2, &[(4096, 0), (u32::MAX, 1)])
        .chunk(LAST, 0, 2, &[]);
    let (_, dirty) = ask(&Liar::saying(said), Ask::Dirty).unwrap();
    assert_eq!(dirty, [4096..12288, 16384..SIZE], "an unknown state counts as dirty");
}

#[test]
fn a_server_that_answers_with_an_error_can_be_asked_again() {
    let said = ready().failure(LAST, 1, 5, "").data(LAST, 2, 0, &[9; 512]).hole(LAST, 3, 0, 512);
    let liar = Liar::saying(said);
    let source = NbdSource::open(&liar.socket(), "vm", None).unwrap();
    let mut into = [0xaa; 512];
    assert!(source.read(&mut into, 0).unwrap_err().to_string().ends_with("the server answered with EIO"));
    source.read(&mut into, 0).unwrap();
    assert_eq!(into, [9; 512]);
    source.read(&mut into, 0).unwrap();
    assert_eq!(into, [0; 512]);
    let lost =
        [source.read(&mut into, 0), source.read(&mut into, 0)].map(|read| read.unwrap_err().to_string());
    assert!(lost.iter().all(|text| text.ends_with("the server closed the connection")), "{lost:?}");
    assert_eq!(source.data_after(0), Ahead::Unknown);
}

#[test]
fn requests_are_of_the_sizes_that_the_server_takes() {
    let mut opening = plain().sizes(512, 4096, 1024).export(SIZE, 3).answer(GO, ACK, &[]);
    for request in 0..3 {
        opening = opening.data(LAST, 1 + request, request * 1024, &[request as u8 + 1; 1024]);
    }
    let liar = Liar::saying(opening);
    let source = NbdSource::open(&liar.socket(), "vm", None).unwrap();
    let mut into = [0; 2061];
    source.read(&mut into, 500).unwrap();
    let expected = [[1; 524].as_slice(), &[2; 1024], &[3; 513]].concat();
    assert!(into.as_slice() == expected);
}

#[test]
fn a_server_that_falls_silent_or_drips_is_given_up() {
    let patience = Patience { silence: Duration::from_millis(50), exchange: Duration::from_secs(60) };
    let liar = Liar::doing(|mut stream| {
        stream.write_all(&ready().0).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let source = NbdSource::open_with(&liar.socket(), "vm", None, patience).unwrap();
    let failure = source.read(&mut [0; 512], 0).unwrap_err().to_string();
    assert!(failure.ends_with("the server said nothing more for 0 seconds"), "{failure}");
    drop(source);

    let patience = Patience { silence: Duration::from_secs(60), exchange: Duration::from_millis(50) };
    let liar = Liar::doing(|mut stream| {
        let more = Said::default().answer(GO, INFO, &[&[0, 1], [b'x'; 4000].as_slice()].concat());
        for byte in plain().0.iter().chain(more.0.iter().cycle()) {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let failure = NbdSource::open_with(&liar.socket(), "vm", None, patience).err().unwrap().to_string();
    assert!(failure.ends_with("the server took more than 0 seconds for one answer"), "{failure}");
}

#[test]
fn a_server_that_lets_nobody_in_is_given_up() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let patience = Patience { silence: Duration::from_millis(50), exchange: Duration::from_secs(60) };
    let failure = NbdSource::open_with(&path, "vm", None, patience).err().unwrap().to_string();
    assert!(failure.contains("its socket cannot be connected to: timed out"), "{failure}");
}
