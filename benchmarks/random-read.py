"""Single reads of 4 KiB at random places: random-read.py FILE MAP FROM TO UNIT READS SEED MODE [warm]

Reads in FROM to TO where MAP, the same image as a plain file, has data; no two reads in the same UNIT bytes. MODE is
buffered or direct. The file's pages are dropped first. With `warm` every 64 KiB between is touched before that, past
the page cache, so that whoever serves the file has its blocks at hand. Prints microseconds: median and p99.
"""
import mmap
import os
import random
import sys
import time

file, map_path, mode = sys.argv[1], sys.argv[2], sys.argv[8]
first, last, unit, reads, seed = map(int, sys.argv[3:8])
BLOCK = 65536
PAGE = 4096

places, at = [], first
image = os.open(map_path, os.O_RDONLY)
while at < last:
    try:
        at = os.lseek(image, at, os.SEEK_DATA)
    except OSError:
        break
    end = min(os.lseek(image, at, os.SEEK_HOLE), last)
    places += range((at + unit - 1) // unit * unit, end // unit * unit, unit)
    at = end
chance = random.Random(seed)
chance.shuffle(places)
places = [place + chance.randrange(unit // PAGE) * PAGE for place in places[:reads]]

into = [mmap.mmap(-1, PAGE)]
if sys.argv[9:] == ["warm"]:
    past = os.open(file, os.O_RDONLY | os.O_DIRECT)
    for _ in range(2):
        for at in range(first, last, BLOCK):
            os.preadv(past, into, at)
descriptor = os.open(file, os.O_RDONLY | (os.O_DIRECT if mode == "direct" else 0))
os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
times = []
for place in places:
    begun = time.perf_counter_ns()
    os.preadv(descriptor, into, place)
    times.append(time.perf_counter_ns() - begun)
times.sort()
print(times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000)
