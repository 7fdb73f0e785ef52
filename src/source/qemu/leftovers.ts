/** Taking away what Cairn has made inside of QEMU for one disk: after a backup, after one that failed, and before the next
 *  where one was killed. All of it is found by its name. */
import { setTimeout as sleep } from 'node:timers/promises';
import { visible } from '../../base/visible.js';
import { endJob, findJob, tolerant } from './jobs.js';
import { findDisk } from './machine-disk.js';
import type { Names } from './names.js';
import { type Qmp, QmpRefusal } from './qmp.js';

const POLL_MS = 20;
const EXPORT_POLLS_MAX = 500;

/** Ends the export, then the job, then removes their nodes. Does nothing where nothing is there.
 *  @throws {CairnError} SOURCE_FAILED where QEMU is lost or does not let go */
export async function takeDown(qmp: Qmp, names: Names): Promise<void> {
  await removeExport(qmp, names.export);
  await endJob(qmp, names.job);
  // It was killed while it made the file of the copy.
  if ((await findJob(qmp, `${names.prefix}-make`)) !== undefined) await endJob(qmp, `${names.prefix}-make`);
  const present = await nodeNames(qmp);
  for (const node of [names.copy, names.file])
    if (present.has(node)) await qmp.execute('blockdev-del', { 'node-name': node });
}

/** Removes the bitmaps of a node that were made for this disk, but those of `kept`.
 *  @param also one that has another disk’s name, since this was renamed
 *  @returns warnings
 *  @throws {CairnError} SOURCE_FAILED where QEMU is lost */
export async function removeBitmaps(
  qmp: Qmp,
  names: Names,
  node: string,
  kept: ReadonlySet<string>,
  also: string | null = null,
): Promise<string[]> {
  const warnings: string[] = [];
  const { bitmaps } = await findDisk(qmp, node);
  for (const { name } of bitmaps) {
    if (kept.has(name) || !(names.isOurs(name) || name === also)) continue;
    try {
      await qmp.execute('block-dirty-bitmap-remove', { node, name });
    } catch (error) {
      if (!(error instanceof QmpRefusal)) throw error;
      warnings.push(`The bitmap ${visible(name)} could not be removed from QEMU: ${error.said}.`);
    }
  }
  return warnings;
}

async function removeExport(qmp: Qmp, id: string): Promise<void> {
  const isThere = async () => (await qmp.list('query-block-exports')).some((each) => each['id'] === id);
  if (!(await isThere())) return;
  await tolerant(qmp.execute('block-export-del', { id, mode: 'hard' }));
  for (let polls = 0; polls < EXPORT_POLLS_MAX && (await isThere()); polls++) await sleep(POLL_MS);
}

async function nodeNames(qmp: Qmp): Promise<Set<string>> {
  const nodes = await qmp.list('query-named-block-nodes', { flat: true });
  return new Set(nodes.map((node) => String(node['node-name'])));
}
