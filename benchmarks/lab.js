/** The disk that is measured on, made afresh from this machine's own files, and a repository for it. */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const CAIRN = new URL('../bin/cairn.js', import.meta.url).pathname;
const MIB = 1024 * 1024;
const PARTITION_OFFSET = 2 * MIB;

/** Numbers that look random and are the same every time (xorshift). */
function numbersFrom(seed) {
  let state = BigInt(seed) * 2n + 1n;
  return (below) => {
    state ^= (state << 13n) & 0xffff_ffff_ffff_ffffn;
    state ^= state >> 7n;
    state ^= (state << 17n) & 0xffff_ffff_ffff_ffffn;
    return Number(state % BigInt(below));
  };
}

/** Runs cairn and gives its JSON. */
export function cairn(lab, ...args) {
  const text = execFileSync(process.execPath, [CAIRN, '-r', lab.repository, '--json', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return text === '' ? null : JSON.parse(text);
}

/** A GPT disk with one ext4 file system that holds `content`, in a directory of its own. */
export function makeLab(sizeBytes, content, seed) {
  const directory = mkdtempSync(join(process.env.CAIRN_BENCH_DIR ?? tmpdir(), 'cairn-bench-'));
  const lab = {
    directory,
    disk: join(directory, 'disk.img'),
    repository: join(directory, 'repository'),
    seed,
    sizeBytes,
  };
  const partition = join(directory, 'partition.img');
  run('truncate', ['-s', String(sizeBytes - 2 * PARTITION_OFFSET), partition]);
  run('mkfs.ext4', ['-q', '-F', '-d', content, partition]);
  run('truncate', ['-s', String(sizeBytes), lab.disk]);
  execFileSync('sfdisk', ['-q', lab.disk], {
    input: `label: gpt\nstart=${PARTITION_OFFSET / 512}, name=root\n`,
  });
  run('dd', [`if=${partition}`, `of=${lab.disk}`, 'bs=2M', 'seek=1', 'conv=notrunc,sparse', 'status=none']);
  rmSync(partition);
  mkdirSync(join(directory, 'mount'));
  return lab;
}

export function removeLab(lab) {
  rmSync(lab.directory, { recursive: true, force: true });
}

/** The disk's data without its holes, for programs that do not know holes. Returns its path and bytes. */
export function dataOf(lab) {
  const path = join(lab.directory, 'data.bin');
  const script = [
    'import os, sys',
    'source, target = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[2], "wb")',
    'at = 0',
    'while True:',
    '    try: at = os.lseek(source, at, os.SEEK_DATA)',
    '    except OSError: break',
    '    end = os.lseek(source, at, os.SEEK_HOLE)',
    '    while at < end:',
    '        piece = os.pread(source, min(1 << 22, end - at), at)',
    '        target.write(piece); at += len(piece)',
    'print(target.tell())',
  ].join('\n');
  const bytes = Number(execFileSync('python3', ['-c', script, lab.disk, path], { encoding: 'utf8' }));
  return { path, bytes };
}

/** Overwrites about `share` of the data in runs of 1 MiB, with bytes from elsewhere on the disk. */
export function change(lab, dataBytes, share, round) {
  const next = numbersFrom(lab.seed + round);
  const file = openSync(lab.disk, 'r+');
  const piece = Buffer.alloc(MIB);
  const blocks = Math.floor(lab.sizeBytes / MIB) - 4;
  let left = Math.round(dataBytes * share);
  while (left > 0) {
    readSync(file, piece, 0, MIB, (2 + next(blocks)) * MIB);
    if (piece.every((byte) => byte === 0)) continue;
    for (let at = 0; at < MIB; at += 4096) piece.writeUInt32LE(next(2 ** 32), at);
    writeSync(file, piece, 0, MIB, (2 + next(blocks)) * MIB);
    left -= MIB;
  }
  closeSync(file);
}

function run(command, args) {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}
