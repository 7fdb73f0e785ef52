/** Where intact copies of damaged blocks are sought: the live source, the disk itself, all other disks of the repository,
 *  and those of other repositories that were named. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import type { DiskName } from '../base/ids.js';
import { isDiskName } from '../base/ids.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Manifest, RestoreParams } from '../native/index.js';
import { Layout } from '../repository/layout.js';
import type { Repository } from '../repository/repository.js';

/** `also` are directories of other repositories.
 *  @throws {CairnError} USAGE for one that is none; NOT_PERMITTED | IO */
export function copiesFor(
  repo: Repository,
  disk: DiskName,
  manifest: Manifest,
  also: readonly string[],
): NonNullable<RestoreParams['copies']> {
  const others = repo.disks().filter((other) => other !== disk);
  const own = [disk, ...others].map((name) => repo.diskDir(name));
  return { source: sourceOf(manifest), diskDirs: [...own, ...also.flatMap(disksIn)] };
}

function sourceOf({ source }: Manifest): string | null {
  const { path: file, kind } = source;
  const isPath = (kind === 'file' || kind === 'device') && typeof file === 'string';
  return isPath && path.isAbsolute(file) ? file : null;
}

function disksIn(directory: string): string[] {
  const { disks } = new Layout(path.resolve(directory));
  try {
    const entries = readdirSync(disks, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && isDiskName(entry.name))
      .map((entry) => path.join(disks, entry.name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new CairnError('USAGE', `${visible(directory)} is no repository: it has no disks.`, {
        hint: 'Name the directory of another repository with --also.',
      });
    }
    throw systemError(`The repository ${visible(directory)} cannot be read`, error);
  }
}
