/** Revisions as images, and what stands on a disk. */
import { type Addon, callAsync } from './addon.js';
import type { NbdExport } from './backup-types.js';
import type { Extent, Image, Survey } from './types.js';

type NativeImage = InstanceType<Addon['NativeImage']>;

/** What stands on a target before it is overwritten, for a person, too. */
export interface SurveyedPath extends Survey {
  /** A partition table, a file system, or what looks like a damaged one. */
  readonly hasContent: boolean;
  /** As in `k3f9-2mqa`: of serial, size, disk GUID and file system UUIDs, not of the path. */
  readonly code: string;
  /** Lines that tell what is there; safe for a terminal. */
  readonly lines: readonly string[];
}

/** Opens a revision; reads are verified. Images of one disk share caches while one of them is open.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | FORMAT_TOO_NEW | IO */
export async function openImage(diskDir: string, revision: string): Promise<Image> {
  return new OpenImage((await callAsync((native) => native.openImage(diskDir, revision))) as NativeImage);
}

/** Changed extents from one revision of a disk to another, in order, with the state they have in `to`; at
 *  most `limit` from `offset` on. Continue at the end of the last.
 *  @throws {CairnError} NOT_FOUND | CORRUPT | INVALID_ARGUMENT | IO */
export async function diffRevisions(
  diskDir: string,
  from: string,
  to: string,
  offset: number,
  limit: number,
): Promise<Extent[]> {
  return (await callAsync((native) => native.diffRevisions(diskDir, from, to, offset, limit))) as Extent[];
}

/** What a dirty bitmap of an export says may have changed, in bytes and in order.
 *  @throws {CairnError} SOURCE_FAILED */
export async function dirtyExtents(
  nbd: NbdExport,
  bitmap: string,
): Promise<Pick<Extent, 'offset' | 'length'>[]> {
  const numbers = (await callAsync((native) => native.dirtyExtents({ ...nbd }, bitmap))) as number[];
  return numbers.flatMap((offset, index) =>
    index % 2 === 0 ? [{ offset, length: numbers[index + 1] ?? 0 }] : [],
  );
}

/** Lets go of files that a collect has replaced or unlinked, whose space comes back only then. For processes that keep
 *  images open for long. */
export async function closeReplacedSegments(): Promise<void> {
  await callAsync((native) => native.closeReplacedSegments());
}

/** What stands on a file or block device. `serial` is the device's serial number, which goes into the code.
 *  @throws {CairnError} NOT_FOUND | INVALID_ARGUMENT | IO; damage is a sentence in `problems` */
export async function surveyPath(path: string, serial: string | null = null): Promise<SurveyedPath> {
  return (await callAsync((native) => native.surveyPath(path, serial))) as SurveyedPath;
}

class OpenImage implements Image {
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  readonly #native: NativeImage;

  constructor(native: NativeImage) {
    this.#native = native;
    this.sizeBytes = native.sizeBytes;
    this.allocatedBytes = native.allocatedBytes;
  }

  /** Blocks that are decoded already are copied at once; the rest is read on another thread. */
  async read(into: Buffer, offset: number): Promise<number> {
    return await callAsync(
      async () => this.#native.readCached(into, offset) ?? (await this.#native.read(into, offset)),
    );
  }

  async extents(offset: number, lengthMax: number, limit: number): Promise<Extent[]> {
    return (await callAsync(() => this.#native.extents(offset, lengthMax, limit))) as Extent[];
  }

  async allocatedIn(offset: number, length: number): Promise<number> {
    return await callAsync(() => this.#native.allocatedIn(offset, length));
  }

  async survey(): Promise<Survey> {
    return (await callAsync(() => this.#native.survey())) as Survey;
  }

  close(): void {
    this.#native.close();
  }
}
