/** Compares what a repository holds with what it must hold, and learns what a command that was killed has done. */
import type { RevisionRow } from '../../src/repository/repository.js';
import type { Attempt, Change } from './attempt.js';
import type { ExpectedDisk, ExpectedRevision, Labels } from './expected-disk.js';
import { digestOf, type Listing, look, lookAside } from './look.js';
import { type Breach, PromiseBroken } from './promise-broken.js';
import type { Report } from './run-at.js';

export class Judge {
  /** Revisions that were read whole and were right. */
  readBack = 0;
  /** Whole revisions that nobody had reported. */
  unreported = 0;

  constructor(
    readonly repository: string,
    readonly disks: readonly ExpectedDisk[],
  ) {}

  /** Settles what a command has done: all that it has reported, or any part of what it may have done, which then is
   *  left as it is for the next command to find.
   *  @throws {PromiseBroken} */
  async settle({ disk, may, did }: Attempt, report: Report | null): Promise<void> {
    const reported = report !== null;
    const change = reported ? did(report) : may;
    for (const id of change.vanish ?? [])
      if (may.vanish?.has(id) !== true)
        throw new PromiseBroken('revisionsLost', `${disk.name}@${id} was removed`);
    const listing = await (reported ? look(this.repository) : lookAside(this.repository));
    if (listing.warnings.length > 0) throw new PromiseBroken('other', listing.warnings.join(' '));
    if (change.name !== undefined) this.#settleName(disk, change.name, reported, listing);
    if (change.ends === true) this.#settleEnd(disk, reported, listing);
    for (const other of this.disks) {
      const rows = listing.rows.filter((row) => row.disk === other.name);
      await this.#settleRows(other, rows, other === disk ? change : {}, reported);
    }
    const unknown = listing.disks.filter((name) => !this.disks.some((other) => other.name === name));
    if (unknown.length > 0) throw new PromiseBroken('other', `disks that nobody made: ${unknown.join(', ')}`);
  }

  /** Reads a revision from its first byte to its last.
   *  @throws {PromiseBroken} */
  async readWhole({ name }: ExpectedDisk, id: string, digest: string, breach: Breach): Promise<void> {
    const found = await digestOf(this.repository, name, id).catch((error: Error) => error.message);
    if (found !== digest) throw new PromiseBroken(breach, `${name}@${id} reads as ${found}, was ${digest}`);
    this.readBack += 1;
  }

  #settleName(disk: ExpectedDisk, name: string, reported: boolean, { disks }: Listing): void {
    const isRenamed = disks.includes(name);
    if (isRenamed === disks.includes(disk.name) || (reported && !isRenamed))
      throw new PromiseBroken(
        'revisionsLost',
        `of ${disk.name}, renamed to ${name}, there is ${disks.join(', ')}`,
      );
    if (isRenamed) disk.name = name;
  }

  #settleEnd(disk: ExpectedDisk, reported: boolean, { disks }: Listing): void {
    if (!disks.includes(disk.name)) disk.removeAll();
    else if (reported) throw new PromiseBroken('removalsUndone', `${disk.name} was deleted and is there`);
  }

  async #settleRows(
    disk: ExpectedDisk,
    rows: readonly RevisionRow[],
    change: Change,
    reported: boolean,
  ): Promise<void> {
    this.#settleGone(disk, new Set(rows.map(({ revision }) => revision)), change, reported);
    const news = rows.filter((row) => !disk.revisions.has(row.revision));
    await this.#settleNew(disk, news, change.appears, reported);
    for (const row of rows) this.#settleLabels(disk, row, change.relabelled?.get(row.revision), reported);
  }

  #settleGone(disk: ExpectedDisk, listed: ReadonlySet<string>, { vanish }: Change, reported: boolean): void {
    for (const id of [...disk.revisions.keys()]) {
      const mayGo = vanish?.has(id) === true;
      if (!listed.has(id) && !mayGo)
        throw new PromiseBroken('revisionsLost', `${disk.name}@${id} is not listed`);
      if (listed.has(id) && mayGo && reported)
        throw new PromiseBroken('removalsUndone', `${disk.name}@${id} was removed and is listed`);
      if (!listed.has(id)) disk.remove(id);
    }
    const back = [...disk.gone].filter((id) => listed.has(id));
    if (back.length > 0)
      throw new PromiseBroken('removalsUndone', `${disk.name}@${back.join(', ')} came back`);
  }

  async #settleNew(
    disk: ExpectedDisk,
    [found, ...more]: readonly RevisionRow[],
    appears: Change['appears'],
    reported: boolean,
  ): Promise<void> {
    if (reported && appears?.id !== found?.revision)
      throw new PromiseBroken(
        'revisionsLost',
        `${disk.name}@${appears?.id} was reported, ${found?.revision} is there`,
      );
    if (found === undefined) return;
    if (appears === undefined || more.length > 0)
      throw new PromiseBroken('other', `${disk.name}@${found.revision} was taken by nobody`);
    await this.readWhole(disk, found.revision, appears.digest, reported ? 'revisionsLost' : 'revisionsHalf');
    const { digest, tags, protected: held }: ExpectedRevision = appears;
    disk.revisions.set(found.revision, { digest, tags, protected: held });
    if (!reported) this.unreported += 1;
  }

  #settleLabels(disk: ExpectedDisk, row: RevisionRow, after: Labels | undefined, reported: boolean): void {
    const before = disk.revisions.get(row.revision);
    const allowed = after === undefined ? [before] : reported ? [after] : [before, after];
    if (!allowed.some((labels) => labels !== undefined && isSame(labels, row)))
      throw new PromiseBroken('other', `${disk.name}@${row.revision} has the labels ${said(row)}`);
    disk.relabel(row.revision, { tags: row.tags, protected: row.protected });
  }
}

function isSame(a: Labels, b: Labels): boolean {
  return said(a) === said(b);
}

function said({ tags, protected: held }: Labels): string {
  return `${[...tags].sort().join(',')} ${held ? 'protected' : ''}`;
}
