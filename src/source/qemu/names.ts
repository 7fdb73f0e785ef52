/** How everything is called that Cairn makes inside of QEMU. A name says of which disk of which repository it is, so that
 *  the next backup finds what a killed one has left, without any other record, and touches nobody else’s. */
import { createHash, randomBytes } from 'node:crypto';
import type { DiskName } from '../../base/ids.js';

/** The mark that a guest was frozen by some Cairn, whichever disk and repository it was for. */
const FROZEN = /^cairn-[0-9a-f]{8}-[0-9a-f]{8}-ice$/;

/** What `newBitmap` gives. */
const BITMAP = /^cairn-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{16}$/;

/** Of one disk. Names of nodes have 31 characters at most (`id_wellformed` and `BlockDriverState.node_name` of QEMU). */
export class Names {
  /** Of what all disks of the repository have. */
  readonly repository: string;
  readonly prefix: string;

  constructor(repositoryId: string, disk: DiskName) {
    this.repository = `cairn-${repositoryId.slice(0, 8)}-`;
    this.prefix = `${this.repository}${createHash('sha256').update(disk).digest('hex').slice(0, 8)}`;
  }

  /** The job that keeps what a write is about to replace. */
  get job(): string {
    return `${this.prefix}-job`;
  }

  /** The node that shows the disk as it was. */
  get copy(): string {
    return `${this.prefix}-copy`;
  }

  /** The node of the file that holds what was replaced. */
  get file(): string {
    return `${this.prefix}-file`;
  }

  get export(): string {
    return `${this.prefix}-nbd`;
  }

  /** The bitmap that says what has changed, and changes no more. */
  get changes(): string {
    return `${this.prefix}-changes`;
  }

  /** A node without a use: while it is there, the guest may be frozen. */
  get frozen(): string {
    return `${this.prefix}-ice`;
  }

  /** A new name for a bitmap that records. */
  newBitmap(): string {
    return `${this.prefix}-${randomBytes(8).toString('hex')}`;
  }

  /** Whether a bitmap, job, node or file of that name is of this disk. */
  isOurs(name: string): boolean {
    return name.startsWith(`${this.prefix}-`);
  }
}

/** Whether Cairn may have called a bitmap so that records, for whichever disk. */
export function isBitmapName(name: string): boolean {
  return BITMAP.test(name);
}

export function isFrozenMark(name: string): boolean {
  return FROZEN.test(name);
}
