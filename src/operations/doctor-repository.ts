/** What a doctor finds beside the disks: README.txt, rests of disks, strange names, a catalog that says otherwise. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { abandonedDirectories, clearAbandoned } from '../repository/disk-directory.js';
import { writeDurably } from '../repository/durable.js';
import { readHeader, rebuildHeader } from '../repository/header.js';
import { Layout } from '../repository/layout.js';
import { REPOSITORY_README } from '../repository/readme.js';
import type { Repository } from '../repository/repository.js';
import { listDisks } from '../repository/scan.js';
import { type Finding, problem } from './finding.js';

/** Nothing can be opened without cairn.json, so it is looked at first. Null where it is fine, or where there is nothing
 *  that looks like a repository.
 *  @throws {CairnError} IO when it cannot be written */
export function examineHeader(dir: string, repair: boolean): Finding | null {
  const layout = new Layout(dir);
  try {
    readHeader(layout);
    return null;
  } catch (error) {
    if (!(error instanceof CairnError) || !existsSync(layout.disks)) return null;
    const isLost =
      error.code === 'CORRUPT' || (error.code === 'NOT_A_REPOSITORY' && !existsSync(layout.header));
    if (!isLost) return null;
    const finding = problem(null, 'header', 'cairn.json', error.message, 'makes it again, with a new id');
    if (!repair) return finding;
    try {
      rebuildHeader(layout);
    } catch (cause) {
      throw systemError(`${visible(layout.header)} cannot be written`, cause);
    }
    return { ...finding, repaired: true };
  }
}

export async function examineRepository(repo: Repository): Promise<Finding[]> {
  const { layout } = repo;
  const findings: Finding[] = [];
  if (!existsSync(layout.readme)) {
    const message = 'README.txt, which tells people how to get data back, is missing.';
    findings.push(problem(null, 'readme', 'README.txt', message, 'writes it anew'));
  }
  for (const warning of listDisks(layout).warnings)
    findings.push({ ...problem(null, 'stranger', 'disks', warning, null), severity: 'note' });
  for (const name of abandonedDirectories(layout)) {
    const message = `disks/${name} was left by a process that was killed while it made or deleted a disk.`;
    const found = problem(null, 'leftover-directory', `disks/${name}`, message, 'removes it');
    findings.push({ ...found, severity: 'note' });
  }
  const differing = await repo.compareCatalog();
  if (differing.length > 0) {
    const message = `The catalog says otherwise than the manifests of ${differing.join(', ')}.`;
    findings.push(problem(null, 'catalog', 'catalog', message, 'makes it anew'));
  }
  return findings;
}

/** @returns what was done, in sentences */
export async function repairRepository(repo: Repository, findings: readonly Finding[]): Promise<string[]> {
  const done: string[] = [];
  for (const { kind, path: where } of findings) {
    if (kind === 'readme') {
      writeDurably(repo.layout.readme, REPOSITORY_README);
      done.push('README.txt was written anew.');
    }
    if (kind === 'leftover-directory') {
      clearAbandoned(repo.layout);
      done.push(`${where} was removed.`);
    }
    if (kind === 'catalog') {
      await repo.rebuildCatalog();
      done.push(`${path.basename(repo.layout.catalog)} was made anew.`);
    }
  }
  return done;
}
