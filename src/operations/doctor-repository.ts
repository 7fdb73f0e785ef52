/** What a doctor finds beside the disks: README.txt and the rescue program, rests of disks, strange names, a catalog that says otherwise. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { examineCarried, repairCarried } from '../repository/carried.js';
import { abandonedDirectories, clearAbandoned } from '../repository/disk-directory.js';
import { readHeader, rebuildHeader } from '../repository/header.js';
import { Layout } from '../repository/layout.js';
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
  for (const { part, path: where, message, isMinor } of examineCarried(layout)) {
    const found = problem(null, part, where, message, part === 'readme' ? 'writes it anew' : 'puts it back');
    findings.push({ ...found, severity: isMinor ? 'note' : 'problem' });
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
    if (kind === 'readme' || kind === 'rescue') {
      repairCarried(repo.layout);
      done.push(`${where} was ${kind === 'readme' ? 'written anew' : 'put back'}.`);
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
