import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type GuardRequest, guardTarget } from '../../src/target/guard.js';
import { parseMountInfo } from '../../src/target/mounts.js';
import { isSourceOf } from '../../src/target/source-match.js';
import { isSameCode, standingOf } from '../../src/target/standing.js';
import { resolveTarget } from '../../src/target/target.js';
import { usesOf } from '../../src/target/uses.js';
import {
  addZram,
  attachLoop,
  MIB,
  mountAt,
  needRoot,
  partition,
  partitionWithExt4,
  run,
  sparseFile,
} from '../block-lab.js';
import { failure } from '../operations/lab.js';
import { tempDir } from '../temp-dir.js';

function guard(file: string, more: Partial<GuardRequest> = {}): Promise<void> {
  return guardTarget({
    target: resolveTarget(file),
    sizeBytes: 8 * MIB,
    replacement: 'web@20261120T201500Z-k3f9 (8 MiB)',
    repositoryDir: '/backup/repo',
    sourceOf: [],
    overwrite: false,
    yes: false,
    ...more,
  });
}

/** With every flag that there is, and the right code. */
async function forced(file: string, more: Partial<GuardRequest> = {}): Promise<void> {
  const { code } = await standingOf(resolveTarget(file));
  await guard(file, { overwrite: true, yes: true, expect: code, ...more });
}

describe('refused whatever the flags', () => {
  test('a mounted device', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'disk.img', 32 * MIB);
    run('mke2fs', '-q', '-t', 'ext4', file);
    const device = attachLoop(file);
    const mountPoint = path.join(dir, 'with blank');
    mkdirSync(mountPoint);
    mountAt(device, mountPoint);
    await expect(forced(device)).rejects.toEqual(
      failure('REFUSED', `is mounted on ${mountPoint}`, 'No flag'),
    );
    await expect(forced(file)).rejects.toEqual(failure('REFUSED', `is held by ${device}`));
  });

  test('a device that another mount namespace has mounted', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'disk.img', 32 * MIB);
    run('mke2fs', '-q', '-t', 'ext4', file);
    const device = attachLoop(file);
    const ready = path.join(dir, 'ready');
    const script = `mount ${device} /mnt && echo $$ > ${ready} && exec sleep 60`;
    run(
      'sh',
      '-c',
      `setsid unshare -m --propagation private sh -c '${script}' >/dev/null 2>&1 & while [ ! -s ${ready} ]; do sleep 0.05; done`,
    );
    const pid = Number(readFileSync(ready, 'utf8'));
    onTestFinished(() => {
      process.kill(pid, 'SIGKILL');
      // The namespace, and with it the mount, goes a moment after its last process.
      run('sh', '-c', `for i in $(seq 100); do kill -0 ${pid} 2>/dev/null || break; sleep 0.05; done`);
    });
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(device);
    await expect(forced(device)).rejects.toEqual(failure('REFUSED', 'is mounted on /mnt'));
  });

  test('a btrfs device, whose mount shows another number', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'disk.img', 128 * MIB);
    run('mkfs.btrfs', '-q', file);
    const device = attachLoop(file);
    mkdirSync(path.join(dir, 'mnt'));
    mountAt(device, path.join(dir, 'mnt'));
    await expect(forced(device)).rejects.toEqual(failure('REFUSED', 'is mounted on'));
  });

  test('a whole disk one partition of which is mounted, and not its other partition', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'disk.img', 64 * MIB);
    const table = 'label: gpt\\nstart=1MiB, size=20MiB\\nstart=24MiB\\n';
    run('sh', '-c', `printf '${table}' | sfdisk -q ${file}`);
    run('mke2fs', '-q', '-t', 'ext4', '-E', `offset=${MIB}`, file, '20M');
    const device = attachLoop(file);
    run('partx', '-a', device);
    onTestFinished(() => {
      run('partx', '-d', device);
    });
    mkdirSync(path.join(dir, 'mnt'));
    mountAt(`${device}p1`, path.join(dir, 'mnt'));
    const name = path.basename(device);
    await expect(forced(device)).rejects.toEqual(failure('REFUSED', `has ${name}p1, which is mounted on`));
    await expect(forced(`${device}p1`)).rejects.toEqual(failure('REFUSED', 'is mounted on'));
    await guard(`${device}p2`);
  });

  test('a swap device and a swap file', async (context) => {
    needRoot(context);
    const zram = addZram(16 * MIB);
    run('mkswap', zram);
    run('swapon', zram);
    onTestFinished(() => {
      run('swapoff', zram);
    });
    await expect(forced(zram)).rejects.toEqual(failure('REFUSED', 'is in use as swap'));
    const file = path.join(tempDir(), 'swap file');
    writeFileSync(file, Buffer.alloc(16 * MIB), { mode: 0o600 });
    run('mkswap', file);
    run('swapon', file);
    onTestFinished(() => {
      run('swapoff', file);
    });
    await expect(forced(file)).rejects.toEqual(failure('REFUSED', 'is in use as swap'));
  });

  test('a device that a loop device stands on, and a file by any of its names', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const zram = addZram(16 * MIB);
    const loop = attachLoop(zram);
    await expect(forced(zram)).rejects.toEqual(failure('REFUSED', `is held by ${loop}`));
    const file = sparseFile(dir, 'disk.img', 16 * MIB);
    const other = attachLoop(file);
    linkSync(file, path.join(dir, 'hard'));
    symlinkSync(file, path.join(dir, 'soft'));
    for (const name of ['hard', 'soft']) {
      await expect(forced(path.join(dir, name))).rejects.toEqual(failure('REFUSED', `is held by ${other}`));
    }
  });

  test('a device that another program holds exclusively', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(tempDir(), 'disk.img', 16 * MIB));
    const { openSync, closeSync, constants } = await import('node:fs');
    const fd = openSync(device, constants.O_RDWR | constants.O_EXCL);
    try {
      await expect(forced(device)).rejects.toEqual(failure('REFUSED', 'opened exclusively'));
    } finally {
      closeSync(fd);
    }
    await guard(device);
  });

  test('a device and a file that another program has open for writing, as QEMU has its disks', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'machine.img', 32 * MIB);
    const device = attachLoop(sparseFile(dir, 'disk.img', 32 * MIB));
    partition(device);
    run('partx', '-a', device);
    onTestFinished(() => {
      run('partx', '-d', device);
    });
    for (const open of [file, device]) {
      const holder = spawn('sh', ['-c', 'exec 3<>"$0"; echo open; read -r _', open], { stdio: 'pipe' });
      onTestFinished(() => {
        holder.kill();
      });
      await once(holder.stdout, 'data');
      const refusal = failure('REFUSED', `is open for writing in sh (pid ${holder.pid})`, 'No flag');
      await expect(forced(open)).rejects.toEqual(refusal);
      // Whoever writes to the whole disk writes to its partitions.
      if (open === device) await expect(forced(`${device}p1`)).rejects.toEqual(refusal);
      holder.kill();
      await once(holder, 'exit');
      await forced(open);
    }
    const reader = openSync(file, 'r');
    expect(usesOf(resolveTarget(file))).toEqual([]);
    closeSync(reader);
  });

  test('a read-only device', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(tempDir(), 'disk.img', 16 * MIB), '-r');
    await expect(forced(device)).rejects.toEqual(failure('REFUSED', 'is read-only'));
  });

  test('a device that is too small', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(tempDir(), 'disk.img', 8 * MIB - 4096));
    await expect(forced(device)).rejects.toEqual(failure('TARGET_TOO_SMALL', /7\.996? MiB|8384512 bytes/));
  });

  test('whatever lies inside the repository, also behind a link or a loop device', async (context) => {
    const dir = tempDir();
    const repositoryDir = path.join(dir, 'repo');
    mkdirSync(repositoryDir);
    symlinkSync(repositoryDir, path.join(dir, 'link'));
    const refusal = failure('REFUSED', 'inside the repository');
    await expect(guard(path.join(repositoryDir, 'new.img'), { repositoryDir })).rejects.toEqual(refusal);
    await expect(guard(path.join(dir, 'link', 'new.img'), { repositoryDir })).rejects.toEqual(refusal);
    await guard(path.join(dir, 'repo2.img'), { repositoryDir });
    needRoot(context);
    const device = attachLoop(sparseFile(repositoryDir, 'disk.img', 16 * MIB));
    await expect(forced(device, { repositoryDir })).rejects.toEqual(refusal);
    const bound = path.join(dir, 'bound');
    mkdirSync(bound);
    mountAt(repositoryDir, bound, '--bind');
    await expect(guard(path.join(bound, 'new.img'), { repositoryDir })).rejects.toEqual(refusal);
    mkdirSync(path.join(repositoryDir, 'disks'));
    const part = path.join(dir, 'part');
    mkdirSync(part);
    mountAt(path.join(repositoryDir, 'disks'), part, '--bind');
    await expect(guard(path.join(part, 'new.img'), { repositoryDir })).rejects.toEqual(refusal);
  });

  test('a file with other names, whose content they would lose, too', async () => {
    const file = sparseFile(tempDir(), 'disk.img', MIB);
    linkSync(file, `${file}.kept`);
    await expect(forced(file)).rejects.toEqual(failure('REFUSED', 'has 2 names'));
  });
});

describe('a file', () => {
  test('that is new or empty is free', async () => {
    const dir = tempDir();
    await guard(path.join(dir, 'new.img'));
    writeFileSync(path.join(dir, 'empty.img'), '');
    await guard(path.join(dir, 'empty.img'));
    expect(existsSync(path.join(dir, 'new.img'))).toBe(false);
  });

  test('that is not empty wants --overwrite', async () => {
    const file = sparseFile(tempDir(), 'disk.img', 4096);
    await expect(guard(file)).rejects.toEqual(failure('REFUSED', 'not empty (4 KiB)', '--overwrite'));
    await guard(file, { overwrite: true });
  });

  test('that a disk is backed up from wants the code as well', async () => {
    const file = sparseFile(tempDir(), 'disk.img', 4096);
    const more = { sourceOf: ['web'], overwrite: true };
    const { code } = await standingOf(resolveTarget(file));
    await expect(guard(file, more)).rejects.toEqual(
      failure('REFUSED', 'Disk “web” is backed up from it', code),
    );
    await guard(file, { ...more, expect: code });
  });
});

describe('a device', () => {
  test('with nothing on it is free, but a person is asked', async (context) => {
    needRoot(context);
    const device = attachLoop(sparseFile(tempDir(), 'disk.img', 16 * MIB));
    await guard(device);
    const asked: string[] = [];
    const answer = (text: string) => async (question: string) => {
      asked.push(question);
      return text;
    };
    await guard(device, { confirm: answer('yes') });
    await expect(guard(device, { confirm: answer('') })).rejects.toEqual(failure('REFUSED', 'not confirmed'));
    await guard(device, { confirm: answer('never asked'), yes: true });
    expect(asked).toHaveLength(2);
    expect(asked[0]).toContain(`${device} (16 MiB, backed by`);
  });

  test('with something unknown on it wants a word where nobody can be asked', async (context) => {
    needRoot(context);
    const file = sparseFile(tempDir(), 'disk.img', 32 * MIB);
    const device = attachLoop(file);
    await guard(device);
    run('sh', '-c', 'printf secret | dd of="$0" bs=1 seek=4096 conv=notrunc,fsync status=none', device);
    await expect(guard(device)).rejects.toEqual(
      failure('REFUSED', 'something that is not known here', '--overwrite'),
    );
    await guard(device, { overwrite: true });
    await guard(device, { yes: true });
  });

  test('a loop device over a file that somebody else uses is used', async (context) => {
    needRoot(context);
    const dir = tempDir();
    const file = sparseFile(dir, 'machine.img', 32 * MIB);
    run('mke2fs', '-q', '-t', 'ext4', file);
    const [device, other] = [attachLoop(file), attachLoop(file)];
    const mountPoint = path.join(dir, 'mounted');
    mkdirSync(mountPoint);
    mountAt(other, mountPoint);
    await expect(forced(device)).rejects.toEqual(
      failure('REFUSED', `stands on ${file}, which is held by ${other}`, 'No flag'),
    );
  });

  test('with something on it shows it, and wants --overwrite and the code of just that', async (context) => {
    needRoot(context);
    const file = sparseFile(tempDir(), 'disk.img', 32 * MIB);
    partitionWithExt4(file);
    const device = attachLoop(file);
    const { code } = await standingOf(resolveTarget(device));
    expect(code).toMatch(/^[0-9a-z]{4}-[0-9a-z]{4}$/);
    const shown =
      /GPT partition table.*\n.*partition 1 “root”.*ext4 “ROOT”[\s\S]*overwritten by web@20261120T201500Z-k3f9/;
    await expect(guard(device)).rejects.toEqual(failure('REFUSED', shown, `--overwrite --expect ${code}`));
    await expect(guard(device, { overwrite: true, yes: true })).rejects.toEqual(
      failure('REFUSED', shown, code),
    );
    await expect(guard(device, { expect: code })).rejects.toEqual(
      failure('REFUSED', '--overwrite was not given'),
    );
    await expect(guard(device, { overwrite: true, expect: '0000-0000' })).rejects.toEqual(
      failure('REFUSED', 'The code 0000-0000 is not the one', code),
    );
    await guard(device, { overwrite: true, expect: code });
    await guard(device, { overwrite: true, expect: code.toUpperCase().replace('-', '') });
    // Another table on the same device is something else.
    run('sh', '-c', `dd if=/dev/zero of=${device} bs=1M count=32 conv=notrunc 2>/dev/null`);
    partition(device);
    await expect(guard(device, { overwrite: true, expect: code })).rejects.toEqual(
      failure('REFUSED', 'is not the one'),
    );
  });

  test('asks a person at a terminal for the code that it shows', async (context) => {
    needRoot(context);
    const file = sparseFile(tempDir(), 'disk.img', 32 * MIB);
    partitionWithExt4(file);
    const device = attachLoop(file);
    let question = '';
    const copy = async (text: string) => {
      question = text;
      return /Type (\S+) to go on/.exec(text)?.[1] ?? '';
    };
    await guard(device, { overwrite: true, confirm: copy });
    expect(question).toMatch(/ext4 “ROOT”[\s\S]*All of it would be lost/);
    const wrong = guard(device, { overwrite: true, yes: true, confirm: async () => 'yes' });
    await expect(wrong).rejects.toEqual(failure('REFUSED', 'was not typed'));
  });
});

test('the same code by whatever path, another for another disk', async () => {
  const dir = tempDir();
  const one = sparseFile(dir, 'one.img', 32 * MIB);
  partitionWithExt4(one);
  run('cp', one, path.join(dir, 'copy.img'));
  const two = sparseFile(dir, 'two.img', 32 * MIB);
  partitionWithExt4(two);
  const code = async (file: string) => (await standingOf(resolveTarget(file))).code;
  expect(await code(path.join(dir, 'copy.img'))).toBe(await code(one));
  expect(await code(two)).not.toBe(await code(one));
  expect(isSameCode(' K3F9 2mqa', 'k3f9-2mqa')).toBe(true);
});

test('targets that cannot be are refused before anything is asked', () => {
  const dir = tempDir();
  symlinkSync('nowhere', path.join(dir, 'dangling'));
  const refused = (file: string) => expect(() => resolveTarget(file));
  refused(dir).toThrow(failure('USAGE', 'is a directory', 'disk.img') as Error);
  refused('/dev/null').toThrow(failure('USAGE', 'neither a file nor a block device') as Error);
  refused(path.join(dir, 'none', 'disk.img')).toThrow(failure('USAGE', 'does not exist') as Error);
  refused(path.join(dir, 'dangling')).toThrow(failure('USAGE', 'leads nowhere') as Error);
  refused('').toThrow(failure('USAGE', 'not a path') as Error);
});

test('an unused file and an unused device have no uses', (context) => {
  const file = sparseFile(tempDir(), 'disk.img', MIB);
  expect(usesOf(resolveTarget(file))).toEqual([]);
  needRoot(context);
  expect(usesOf(resolveTarget(attachLoop(file)))).toEqual([]);
});

test('mountinfo is read with blanks and colons in its names', () => {
  const line =
    '36 35 98:0 /mnt1 /mnt\\0402:x rw,noatime master:1 shared:2 - ext3 /dev/ro\\040ot rw,errors=continue';
  const mount = {
    device: '98:0',
    mountPoint: '/mnt 2:x',
    root: '/mnt1',
    fileSystem: 'ext3',
    source: '/dev/ro ot',
    writable: true,
  };
  expect(parseMountInfo(`${line}\nbroken\n`)).toEqual([mount]);
  for (const readOnly of [line.replace('rw,noatime', 'ro'), line.replace('rw,errors', 'ro,errors')])
    expect(parseMountInfo(readOnly)).toEqual([{ ...mount, writable: false }]);
});

test('the source of a disk is known by path, inode, serial or disk GUID', () => {
  const file = sparseFile(tempDir(), 'disk.img', MIB);
  const target = resolveTarget(file);
  const { existing } = target.kind === 'file' ? target : { existing: null };
  const is = (source: Record<string, unknown>) => isSourceOf(target, source, null);
  expect(is({ kind: 'file', path: file })).toBe(true);
  expect(is({ kind: 'file', path: '/moved', device: existing?.device, inode: existing?.inode })).toBe(true);
  expect(is({ kind: 'file', path: '/moved', device: existing?.device, inode: 1 })).toBe(false);
  expect(is({ kind: 'device', path: '/dev/loop9', backingFile: file })).toBe(true);
  const device = {
    number: '8:0',
    name: 'sda',
    sizeBytes: 1,
    logicalBlockBytes: 512,
    readOnly: false,
  } as const;
  const rest = {
    serial: 'S1',
    model: null,
    wwid: null,
    partition: null,
    children: [],
    holders: [],
    loop: null,
  };
  const disk = { kind: 'device', path: '/dev/sda', device: { ...device, ...rest } } as const;
  const part = { ...disk, device: { ...disk.device, partition: { number: 1, parent: '8:0' } } } as const;
  expect(isSourceOf(disk, { kind: 'device', path: '/dev/sdb', serial: 'S1' }, null)).toBe(true);
  expect(isSourceOf(disk, { kind: 'device', path: '/dev/sdb', serial: 'S2', diskId: 'a' }, 'a')).toBe(true);
  expect(isSourceOf(disk, { kind: 'device', path: '/dev/sdb', serial: 'S2', diskId: 'a' }, 'b')).toBe(false);
  expect(isSourceOf(disk, { kind: 'device', path: '/dev/sdb2', serial: 'S1', partition: 2 }, null)).toBe(
    true,
  );
  expect(isSourceOf(part, { kind: 'device', path: '/dev/sdb2', serial: 'S1', partition: 2 }, null)).toBe(
    false,
  );
});
