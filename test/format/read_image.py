#!/usr/bin/env python3
"""A second reader of a Cairn repository, written from docs/format.md alone.

usage: read_image.py <disk directory> <revision id> <target>     writes the image, "-" for standard output
       read_image.py <disk directory> <revision id>              checks every byte of it and writes nothing

Slow, and on purpose without anything but Python's own library, except that zstd frames go through the command zstd.
It reads one revision: manifest, block map, records. Exits with 1 and a sentence where something is not as it must be.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

MASK = 0xFFFFFFFF


DICTIONARY_MAGIC = b"\x37\xa4\x30\xec"


class Damaged(Exception):
    pass


# --- BLAKE3, as in the paper by O'Connor, Aumasson, Neves and Wilcox-O'Hearn: sections 2.1 to 2.6, derive-key mode.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8
DERIVE_KEY_CONTEXT, DERIVE_KEY_MATERIAL = 32, 64
BLOCK_LEN, CHUNK_LEN = 64, 1024
# Columns, then diagonals: which words of the state are mixed with which two words of the message.
MIXES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)


def compress(chaining, words, counter, length, flags):
    """The eight words of the chaining value that comes out."""
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    m = words
    for number in range(7):
        for at, (a, b, c, d) in enumerate(MIXES):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + m[2 * at]) & MASK
            vd ^= va
            vd = (vd >> 16) | (vd << 16) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 12) | (vb << 20) & MASK
            va = (va + vb + m[2 * at + 1]) & MASK
            vd ^= va
            vd = (vd >> 8) | (vd << 24) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            v[a], v[b], v[c], v[d] = va, (vb >> 7) | (vb << 25) & MASK, vc, vd
        m = [m[at] for at in PERMUTATION]
    return tuple(v[at] ^ v[at + 8] for at in range(8))


def words_of(block):
    return struct.unpack("<16I", block.ljust(BLOCK_LEN, b"\0"))


def chunk(key, data, counter, flags):
    """The last compression of a chunk, not made yet."""
    chaining, flag = key, CHUNK_START
    blocks = [data[at : at + BLOCK_LEN] for at in range(0, len(data), BLOCK_LEN)] or [b""]
    for block in blocks[:-1]:
        chaining = compress(chaining, words_of(block), counter, BLOCK_LEN, flags | flag)
        flag = 0
    return chaining, words_of(blocks[-1]), counter, len(blocks[-1]), flags | flag | CHUNK_END


def tree(key, data, counter, flags):
    """The last compression of a subtree: the left side is as large a power of two of chunks as leaves something right."""
    if len(data) <= CHUNK_LEN:
        return chunk(key, data, counter, flags)
    chunks = (len(data) - 1) // CHUNK_LEN
    left = 1 << (chunks.bit_length() - 1)
    cut = left * CHUNK_LEN
    sides = (tree(key, data[:cut], counter, flags), tree(key, data[cut:], counter + left, flags))
    first, second = (compress(*side) for side in sides)
    return key, (*first, *second), 0, BLOCK_LEN, flags | PARENT


def blake3(key, data, flags):
    chaining, words, counter, length, last = tree(key, data, 0, flags)
    # Thirty-two bytes come out of the root at counter 0.
    return struct.pack("<8I", *compress(chaining, words, 0, length, last | ROOT))


def deriver(context):
    key = struct.unpack("<8I", blake3(IV, context.encode(), DERIVE_KEY_CONTEXT))
    return lambda data: blake3(key, data, DERIVE_KEY_MATERIAL)


block_digest = deriver("cairn 2026-11-20 block v1")
page_digest = deriver("cairn 2026-11-20 map page v1")
header_digest = deriver("cairn 2026-11-20 segment header v1")
text_digest = deriver("cairn 2026-11-20 text file v1")
image_digest = deriver("cairn 2026-11-20 image v1")


# --- Payloads.


def unpack_lz4(payload, length):
    """One raw block: literals, then a match that may overlap what it makes."""
    out, at = bytearray(), 0

    def extended(value):
        nonlocal at
        more = value == 15
        while more:
            byte = payload[at]
            at += 1
            value += byte
            more = byte == 255
        return value

    while at < len(payload):
        token = payload[at]
        at += 1
        literals = extended(token >> 4)
        if at + literals > len(payload):
            raise Damaged("an lz4 block ends within its literals")
        out += payload[at : at + literals]
        at += literals
        # The last sequence has literals alone.
        if at == len(payload):
            break
        (distance,) = struct.unpack_from("<H", payload, at)
        at += 2
        count = extended(token & 15) + 4
        if not 0 < distance <= len(out) or len(out) + count > length:
            raise Damaged("an lz4 match leads outside of its block")
        for _ in range(count):
            out.append(out[-distance])
    return bytes(out)


def unpack_zstd(payload, *options):
    done = subprocess.run(["zstd", "-dcq", *options], input=payload, capture_output=True, check=False)
    if done.returncode != 0:
        raise Damaged(f"a zstd frame cannot be unpacked: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def unpack_against(base, frame):
    """A frame whose matches may reach back into another block."""
    if base[:4] == DICTIONARY_MAGIC:
        raise Damaged("a block that begins like a trained dictionary cannot be a base")
    with tempfile.NamedTemporaryFile() as file:
        file.write(base)
        file.flush()
        return unpack_zstd(frame, "-D", file.name)


def split_base(payload):
    """Where the base is, its digest, and the frame."""
    if len(payload) < 48 or payload[40:48] != header_digest(payload[:40] + payload[48:])[:8]:
        raise Damaged("the payload of a block that needs a base is damaged")
    segment, ordinal, digest = struct.unpack_from("<II32s", payload)
    return (segment, ordinal), digest, payload[48:]


def unpack(codec, payload, length):
    try:
        plain = {0: bytes, 1: unpack_zstd, 2: lambda packed: unpack_lz4(packed, length)}[codec](payload)
    except KeyError:
        raise Damaged(f"codec {codec} is unknown") from None
    except (IndexError, struct.error):
        raise Damaged("an lz4 block is cut short") from None
    if len(plain) != length:
        raise Damaged(f"a payload unpacks to {len(plain)} bytes instead of {length}")
    return plain


# --- Files.


def read_json(path, newest=1):
    with open(path, "rb") as file:
        data = file.read()
    found = json.loads(data)
    if found["format"] > newest:
        raise Damaged(f"{path} has format {found['format']}, and this reader knows {newest}")
    tail = b'  "checksum": "' + b"0" * 64 + b'"\n}\n'
    checked = data[: -len(tail)]
    if data[len(checked) :] != b'  "checksum": "' + text_digest(checked).hex().encode() + b'"\n}\n':
        raise Damaged(f"the checksum of {path} does not match")
    return found


class Segment:
    """A sealed segment: header, index and trailer are checked at once, records when they are read."""

    def __init__(self, directory, number):
        self.number = number
        self.path = os.path.join(directory, f"{number:08}.seg")
        with open(self.path, "rb") as file:
            self.data = file.read()
        if len(self.data) < 128:
            raise Damaged(f"{self.path} is too short for a segment")
        header, trailer = self.data[:64], self.data[-64:]
        magic, version, _, named = struct.unpack_from("<8sHHI", header)
        if magic != b"CAIRNSEG" or header[56:] != header_digest(header[:56])[:8]:
            raise Damaged(f"{self.path} has a damaged header")
        if version not in (1, 2) or named != number:
            raise Damaged(f"{self.path} is not segment {number} of format 1 or 2")
        magic, version, _, named, start, count, _ = struct.unpack_from("<8sHHIQII", trailer)
        index = self.data[start:-64]
        if magic != b"CAIRNIDX" or version != 1 or named != number or len(index) != 48 * count:
            raise Damaged(f"{self.path} has no sound trailer")
        if trailer[32:] != header_digest(index + trailer[:32]):
            raise Damaged(f"{self.path} has a damaged index")
        self.entries = {}
        for at in range(0, len(index), 48):
            ordinal, offset, length, kind, codec, _, digest = struct.unpack_from("<IIIBBH32s", index, at)
            self.entries[ordinal] = (offset, length, kind, codec, digest)

    def read(self, ordinal, kind, digest, length=None, read_base=None):
        """The plain bytes of a record, which are what their pointer asks for. `read_base` gives those of its base."""
        where = f"record {ordinal} of {self.path}"
        if ordinal not in self.entries:
            raise Damaged(f"{where} is not there")
        offset, payload_len, *_ = self.entries[ordinal]
        header = self.data[offset : offset + 64]
        payload = self.data[offset + 64 : offset + 64 + payload_len]
        if header[:4] != b"CRec" or header[56:] != header_digest(header[:56])[:8]:
            raise Damaged(f"{where} has a damaged header")
        found_kind, codec, encryption, _, segment, found, plain_len, stored_len, _ = struct.unpack_from(
            "<BBBBIIII32s", header, 4
        )
        if (found_kind, encryption, segment, found, stored_len) != (kind, 0, self.number, ordinal, payload_len):
            raise Damaged(f"{where} is another record than its index says")
        if plain_len > 4194304 or (length is not None and plain_len != length):
            raise Damaged(f"{where} has another length than it must have")
        if codec == 3 and kind == 1 and read_base:
            place, base_digest, frame = split_base(payload)
            plain = unpack_against(read_base(place, base_digest), frame)
            if len(plain) != plain_len:
                raise Damaged(f"{where} unpacks to another length than it must have")
        else:
            plain = unpack(codec, payload, plain_len)
        if {1: block_digest, 2: page_digest}[kind](plain) != digest:
            raise Damaged(f"{where} does not have the digest that its pointer asks for")
        return plain


class Image:
    def __init__(self, disk, revision):
        manifest = read_json(os.path.join(disk, "revisions", f"{revision}.json"), newest=2)
        self.segments_dir = os.path.join(disk, "segments")
        self.segments = {}
        self.size, self.block_size = manifest["sizeBytes"], manifest["blockSizeBytes"]
        shape = manifest["map"]
        self.fanout, self.height, self.root = shape["fanout"], shape["height"], shape["root"]
        self.blocks = -(-self.size // self.block_size)
        height = 1
        while self.fanout**height < self.blocks:
            height += 1
        root = bytes.fromhex(self.root["digest"]) if self.root else bytes(32)
        told = struct.pack("<QIBB", self.size, self.block_size, self.fanout.bit_length() - 1, self.height)
        if height != self.height or image_digest(told + root).hex() != manifest["imageDigest"]:
            raise Damaged(f"the image digest of {revision} does not fit its map")

    def segment(self, number):
        if number not in self.segments:
            self.segments[number] = Segment(self.segments_dir, number)
        return self.segments[number]

    def page(self, pointers, digest):
        """A page, from whichever of its records can be read."""
        trouble = None
        for segment, ordinal in pointers:
            if (segment, ordinal) == (0, 0):
                continue
            try:
                return self.segment(segment).read(ordinal, 2, digest)
            except (Damaged, OSError) as error:
                trouble = trouble or error
        raise Damaged(str(trouble))

    def walk(self, pointers, digest, level, first, stored):
        """Pairs of block and pointer beneath a page, in order."""
        page = self.page(pointers, digest)
        log2 = self.fanout.bit_length() - 1
        has_bases = level == 1 and page[0] == 2
        if page[:4] != bytes((2 if has_bases else 1, level, log2, 0)):
            raise Damaged("a map page is not of the level and fan-out that were asked for")
        bitmap, at = page[4 : 4 + self.fanout // 8], 4 + self.fanout // 8
        bases = {}
        if has_bases:
            base_bitmap, at = page[at : at + self.fanout // 8], at + self.fanout // 8
            slots = [slot for slot in range(self.fanout) if base_bitmap[slot // 8] >> slot % 8 & 1]
            end = len(page) - 8 * len(slots)
            bases = {slot: struct.unpack_from("<II", page, end + 8 * rank) for rank, slot in enumerate(slots)}
            if not slots or any(base & ~there for base, there in zip(base_bitmap, bitmap)):
                raise Damaged("a map page with bases has none, or has one of a block that is not there")
        step, width, found = self.fanout ** (level - 1), 40 if level == 1 else 56, 0
        for number in range(self.fanout):
            if not bitmap[number // 8] >> number % 8 & 1:
                continue
            entry = page[at : at + width]
            at += width
            digest, segment, ordinal = struct.unpack_from("<32sII", entry)
            if ordinal >> 24:
                raise Damaged("a pointer has flags that this reader does not know")
            block = first + number * step
            if level == 1:
                found += 1
                yield block, (segment, ordinal, digest, bases.get(number))
                continue
            copy_segment, copy_ordinal, beneath = struct.unpack_from("<IIQ", entry, 40)
            found += beneath
            places = ((segment, ordinal), (copy_segment, copy_ordinal))
            yield from self.walk(places, digest, level - 1, block, beneath)
        if at + 8 * len(bases) != len(page) or found != stored:
            raise Damaged("a map page does not hold what was led to expect of it")

    def stored_blocks(self):
        """Pairs of offset and plain bytes; all else is zeros."""
        if self.root is None:
            return
        root = self.root
        places = ((root["segment"], root["ordinal"]), (root["copySegment"], root["copyOrdinal"]))
        walk = self.walk(places, bytes.fromhex(root["digest"]), self.height, 0, root["allocatedBlocks"])
        for block, (segment, ordinal, digest, base) in walk:
            if block >= self.blocks:
                raise Damaged("the map holds blocks beyond the end of the image")
            offset = block * self.block_size
            length = min(self.block_size, self.size - offset)
            yield offset, self.segment(segment).read(ordinal, 1, digest, length, self.base_reader(base))

    def base_reader(self, told):
        """Reads the base that the map tells, and no other; a base has none itself."""

        def read(place, digest):
            if place != told:
                raise Damaged("a block needs another base than the map tells")
            return self.segment(place[0]).read(place[1], 1, digest)

        return read


def main(disk, revision, target=None):
    image = Image(disk, revision)
    if target is None:
        stored = sum(len(plain) for _, plain in image.stored_blocks())
        print(f"{revision}: {image.size} bytes, {stored} of them stored, all sound")
        return
    if target == "-":
        at = 0
        for offset, plain in image.stored_blocks():
            while at < offset:
                at += sys.stdout.buffer.write(bytes(min(1 << 20, offset - at)))
            at += sys.stdout.buffer.write(plain)
        while at < image.size:
            at += sys.stdout.buffer.write(bytes(min(1 << 20, image.size - at)))
        return
    with open(target, "xb") as file:
        file.truncate(image.size)
        for offset, plain in image.stored_blocks():
            file.seek(offset)
            file.write(plain)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Damaged, OSError, KeyError, ValueError, TypeError) as error:
        sys.exit(f"read_image: {error}")
