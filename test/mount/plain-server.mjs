/** A serving process over a directory of plain files instead of a repository: what the engine suite mounts.
 *  `<dir>/<disk>/<revision>.raw` is an image, beside it `.json` with `row`, `survey`, `damaged` ranges and an
 *  optional `delayMs` for each read. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../../dist/base/errors.js';
import { createLogger } from '../../dist/base/log.js';
import { runServer } from '../../dist/mount/session/server.js';

class PlainImage {
  constructor(handle, stats, about) {
    this.handle = handle;
    this.about = about;
    this.sizeBytes = stats.size;
    this.allocatedBytes = Math.min(stats.blocks * 512, stats.size);
  }

  async read(into, offset) {
    const { damaged = [], delayMs = 0 } = this.about;
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (damaged.some(([begin, length]) => offset < begin + length && begin < offset + into.length)) {
      throw new CairnError('CORRUPT', `a block at ${offset} is damaged`);
    }
    const { bytesRead } = await this.handle.read(into, 0, into.length, offset);
    return bytesRead;
  }

  async allocatedIn(_offset, length) {
    return Math.min(length, this.allocatedBytes);
  }

  async survey() {
    return this.about.survey;
  }

  close() {
    void this.handle.close();
  }
}

function listDirectory(directory) {
  const disks = readdirSync(directory).sort();
  const rows = disks.flatMap((disk) =>
    readdirSync(join(directory, disk))
      .filter((name) => name.endsWith('.json'))
      .sort()
      .map((name) => JSON.parse(readFileSync(join(directory, disk, name), 'utf8')).row),
  );
  return { disks, rows };
}

runServer(async (directory) => {
  if (!existsSync(directory)) throw new CairnError('NOT_A_REPOSITORY', `${directory} is no repository.`);
  let listing = listDirectory(directory);
  const about = (disk, revision) =>
    JSON.parse(readFileSync(join(directory, disk, `${revision}.json`), 'utf8'));
  return {
    async refresh() {
      const next = listDirectory(directory);
      const changed = JSON.stringify(next) !== JSON.stringify(listing);
      listing = next;
      return changed;
    },
    disks: () => listing.disks,
    revisions: () => listing.rows,
    manifest: (disk, revision) => ({ format: 1, disk, revision, layout: about(disk, revision).survey }),
    async openImage(disk, revision) {
      const path = join(directory, disk, `${revision}.raw`);
      return new PlainImage(await open(path), await stat(path), about(disk, revision));
    },
  };
}, createLogger);
