/** The source of a revision as the target of its restore: only where it still is what the revision was read from. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import type { Manifest } from '../native/index.js';
import { parseSource } from '../source/parse-source.js';
import type { SourceDescription } from '../source/source.js';
import { isRbdTarget, resolveRbdTarget } from '../target/rbd-target.js';

type Known = Readonly<Record<string, unknown>>;

/** What tells one device from another, how a person calls it, and whether it is proof that it is the same. A disk GUID is
 *  not: machines that were cloned share it. */
const MARKS = [
  ['serial', 'serial number', true],
  ['wwid', 'world wide id', true],
  ['backingFile', 'file behind it', true],
  ['diskId', 'disk GUID', false],
] as const;

/** The target to restore to: a path, or `rbd:…`.
 *  @throws {CairnError} USAGE for what cannot be written back to; REFUSED where it is not the same, or cannot be told */
export async function sourceAsTarget(manifest: Manifest, signal?: AbortSignal): Promise<string> {
  const { source } = manifest;
  const { spec, path: file, kind } = source;
  if (kind === 'rbd' && typeof spec === 'string') return await imageAsTarget(spec, source['imageId'], signal);
  const isPath = (kind === 'file' || kind === 'device') && typeof spec === 'string';
  if (!isPath || typeof file !== 'string' || !path.isAbsolute(file)) {
    throw new CairnError(
      'USAGE',
      'The revision was not read from a file, a device or an image of Ceph, so there is none to restore to.',
      {
        hint: 'Name a target.',
      },
    );
  }
  // An image that is gone is made again where it was.
  if (kind === 'file' && !existsSync(file)) return file;
  const now = await parseSource(spec).inspect();
  const difference = now.kind === 'device' ? deviceDifference(now, source) : fileDifference(now, source);
  if (difference !== null) {
    throw new CairnError(
      'REFUSED',
      `${visible(file)} is not what the revision was read from: ${difference}.`,
      {
        hint: 'If it shall be overwritten all the same, name it as the target; then it is guarded like any other.',
      },
    );
  }
  return file;
}

async function imageAsTarget(spec: string, imageId: unknown, signal?: AbortSignal): Promise<string> {
  const hint =
    'If it shall be written all the same, name it as the target; then it is guarded like any other.';
  if (!isRbdTarget(spec) || !parseSource(spec).repeatable) {
    const why =
      'its cluster is configured by a file outside of /etc/ceph, which a revision is not trusted with';
    throw new CairnError('REFUSED', `${visible(spec)} is not written to without being named: ${why}.`, {
      hint,
    });
  }
  const { existing } = await resolveRbdTarget(spec, signal);
  // As a file that is gone, an image is made again where it was.
  if (existing === null || existing.imageId === imageId) return spec;
  const what = `${visible(spec)} is not what the revision was read from: another image has that name now.`;
  throw new CairnError('REFUSED', what, { hint });
}

function fileDifference(now: SourceDescription, then: Known): string | null {
  if (then['kind'] !== 'file') return 'it was a device then';
  if (now['device'] === then['device'] && now['inode'] === then['inode']) return null;
  return 'another file has that name now';
}

function deviceDifference(now: SourceDescription, then: Known): string | null {
  if (then['kind'] !== 'device') return 'it was a file then';
  if ((now['partition'] ?? null) !== (then['partition'] ?? null)) return 'it is another part of a disk';
  let isProven = false;
  for (const [field, name, isProof] of MARKS) {
    const [found, known] = [now[field], then[field]];
    if (typeof known !== 'string' || typeof found !== 'string') continue;
    if (found === known) isProven ||= isProof;
    else return `its ${name} is ${visible(found)} and was ${visible(known)}`;
  }
  return isProven
    ? null
    : 'it has neither a serial number nor anything else by which it could be known again';
}
