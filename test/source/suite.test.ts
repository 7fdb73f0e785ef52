/** Files, devices, commands and streams do what the suite says. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import type { Options } from 'execa';
import { attachLoop, needRoot, run, sparseFile } from '../block-lab.js';
import { tempDir } from '../temp-dir.js';
import { Machine, makeImage } from './machine.js';
import { processesOf, SIZE, type Subject, sourceSuite } from './suite.js';

/** An image that the source is made of. */
class Image {
  readonly file = sparseFile(tempDir(), 'disk.img', SIZE);

  get writing(): Pick<Subject, 'write' | 'resize' | 'content'> {
    return {
      write: (offset, length, byte) => fill(this.file, offset, length, byte),
      resize: (sizeBytes) => truncateSync(this.file, sizeBytes),
      content: () => readFileSync(this.file),
    };
  }

  get going(): Pick<Subject, 'vanish' | 'comeBack'> {
    return {
      vanish: () => renameSync(this.file, `${this.file}.away`),
      comeBack: () => renameSync(`${this.file}.away`, this.file),
    };
  }
}

function fill(file: string, offset: number, length: number, byte: number): void {
  const fd = openSync(file, 'r+');
  writeSync(fd, Buffer.alloc(length, byte), 0, length, offset);
  fsyncSync(fd);
  closeSync(fd);
}

sourceSuite({
  name: 'file',
  gone: { exitCode: 2, message: /^The source \S+ does not exist\.$/ },
  consistency: 'snapshot',
  isRepeatable: true,
  make: () => {
    const image = new Image();
    return { spec: image.file, ...image.writing, ...image.going, left: () => [] };
  },
});

sourceSuite({
  name: 'device',
  gone: { exitCode: 2, message: /^The source \S+ does not exist\.$/ },
  consistency: 'snapshot',
  isRepeatable: true,
  make: (context) => {
    needRoot(context);
    const image = new Image();
    const device = attachLoop(image.file);
    // As udev's links to a disk, which go when it is pulled out.
    const link = path.join(path.dirname(image.file), 'by-id');
    symlinkSync(device, link);
    return {
      spec: link,
      write: (offset, length, byte) => fill(device, offset, length, byte),
      resize: (sizeBytes) => {
        truncateSync(image.file, sizeBytes);
        run('losetup', '-c', device);
      },
      content: () => readFileSync(device),
      vanish: () => unlinkSync(link),
      comeBack: () => symlinkSync(device, link),
      left: () => [],
    };
  },
});

sourceSuite({
  name: 'exec',
  gone: { exitCode: 1, message: /^The command of the source failed with exit status 1: .*No such file/ },
  consistency: 'live',
  isRepeatable: false,
  make: () => {
    const image = new Image();
    return {
      spec: `exec:cat ${image.file}`,
      ...image.writing,
      ...image.going,
      left: () => processesOf(`cat ${image.file}`),
    };
  },
});

sourceSuite({
  name: 'stream',
  gone: { exitCode: 1, message: /^The stream ended at 0 bytes where 4194304 were expected/ },
  consistency: 'live',
  isRepeatable: false,
  make: () => {
    const image = new Image();
    let [sizeBytes, isThere] = [SIZE, true];
    return {
      spec: 'stream:-',
      words: () => ['--size', String(sizeBytes)],
      options: (): Options => ({ stdin: { file: isThere ? image.file : '/dev/null' } }),
      ...image.writing,
      resize: (size) => {
        sizeBytes = size;
        truncateSync(image.file, size);
      },
      vanish: () => {
        isThere = false;
      },
      comeBack: () => {
        isThere = true;
      },
      left: () => [],
    };
  },
});

sourceSuite({
  name: 'qemu',
  gone: { exitCode: 1, message: /^QEMU’s monitor \S+ cannot be reached: there is no such socket\.$/ },
  consistency: 'snapshot',
  isRepeatable: true,
  make: async () => {
    const dir = tempDir();
    const machine = new Machine(dir, { images: { d0: makeImage(path.join(dir, 'd0.qcow2'), String(SIZE)) } });
    await machine.start();
    return {
      spec: machine.spec('d0'),
      write: (offset, length, byte) => machine.write('d0', byte, offset, length),
      resize: async (size) => {
        await machine.execute('block_resize', { 'node-name': 'd0', size });
      },
      content: async () => readFileSync(await machine.bytes('d0')),
      vanish: () => renameSync(machine.socket, `${machine.socket}.away`),
      comeBack: () => renameSync(`${machine.socket}.away`, machine.socket),
      left: async () => [
        ...(await machine.traces()),
        ...(await machine.bitmaps('d0')),
        ...readdirSync(dir).filter((name) => name.startsWith('cairn-')),
      ],
    };
  },
});
