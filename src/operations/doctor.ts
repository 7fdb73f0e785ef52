/** Comparing what a repository holds with itself: catalog, manifests, segments, logs; and mending what can be mended
 *  without loss. */
import { CairnError } from '../base/errors.js';
import { type DiskName, isRevisionId } from '../base/ids.js';
import { quoted } from '../base/shell-word.js';
import { visible } from '../base/visible.js';
import {
  type DamagedExtent,
  type DiskLock,
  type OverlayRecord,
  type StateFile,
  startExamine,
  startRepair,
  writeState,
} from '../native/index.js';
import { acquireDisk, type LockOptions } from '../repository/disk-lock.js';
import { type JournalEntry, readJournal, startOperation } from '../repository/journal.js';
import { isTime } from '../repository/journal-entry.js';
import { type OpenOperation, openOperations } from '../repository/open-operations.js';
import type { Repository } from '../repository/repository.js';
import { examineRepository, repairRepository } from './doctor-repository.js';
import { afterRepair, type Finding, findingOf, problem } from './finding.js';
import { listOverlays } from './instant-finish.js';
import { type JobOptions, runJob } from './job.js';
import { noteFailed, noteFinished } from './on-disk.js';

export type { Finding } from './finding.js';

export interface DoctorOptions extends LockOptions, Pick<JobOptions, 'signal'> {
  /** All disks, and the repository itself, when there are none. */
  readonly disks: readonly string[];
  readonly repair?: boolean | undefined;
  /** Made anew for each disk. */
  readonly onProgress?: ((disk: string) => JobOptions['onProgress']) | undefined;
}

export interface DoctorOutcome {
  readonly findings: readonly Finding[];
  /** Bytes of revisions that cannot be read. */
  readonly damaged: readonly (DamagedExtent & { readonly disk: string })[];
  /** What was done, in sentences. */
  readonly done: readonly string[];
  readonly disks: number;
  readonly revisions: number;
}

interface Mutable {
  findings: Finding[];
  damaged: (DamagedExtent & { disk: string })[];
  done: string[];
  disks: number;
  revisions: number;
}

/** Findings are a result, no error. Blocks are not read: that is what a scrub does.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | READ_ONLY when it is to repair; CANCELLED | IO */
export async function doctor(repo: Repository, options: DoctorOptions): Promise<DoctorOutcome> {
  if (options.repair === true) repo.requireWritable();
  const isWhole = options.disks.length === 0;
  const names = isWhole ? repo.disks() : options.disks;
  const disks = [...new Set(names)].map((name) => repo.requireDisk(name));
  const outcome: Mutable = { findings: [], damaged: [], done: [], disks: disks.length, revisions: 0 };
  if (isWhole) await lookAtRepository(repo, options, outcome);
  for (const disk of disks) await lookAtDisk(repo, disk, options, outcome);
  return outcome;
}

async function lookAtRepository(repo: Repository, options: DoctorOptions, outcome: Mutable): Promise<void> {
  const before = await examineRepository(repo);
  if (options.repair !== true) {
    outcome.findings.push(...before);
    return;
  }
  outcome.done.push(...(await repairRepository(repo, before)));
  outcome.findings.push(...afterRepair(before, await examineRepository(repo)));
}

async function lookAtDisk(
  repo: Repository,
  disk: DiskName,
  options: DoctorOptions,
  outcome: Mutable,
): Promise<void> {
  const diskDir = repo.diskDir(disk);
  const job = { signal: options.signal, onProgress: options.onProgress?.(disk) };
  const open = openOperations(diskDir);
  const { lock, busy } = await lockToLook(repo, disk, options);
  const died = lock === null ? [] : diedAmong(repo, disk, open);
  const examine = async () => {
    const examined = await runJob(() => startExamine(diskDir, lock), job);
    return { ...examined, findings: examined.findings.map((found) => findingOf(repo, disk, found)) };
  };
  try {
    const before = await examine();
    let last = before;
    if (options.repair === true && lock !== null && before.findings.some(({ repair }) => repair !== null)) {
      outcome.done.push(...(await repairDisk(repo, disk, lock, before.findings, job)));
      last = await examine();
      await repo.refreshDisk(disk);
    }
    outcome.findings.push(...busy, ...died, ...goneOverlays(repo, disk));
    outcome.findings.push(...afterRepair(before.findings, last.findings));
    outcome.damaged.push(...last.damaged.map((extent) => ({ disk, ...extent })));
    outcome.revisions += last.revisions;
  } finally {
    lock?.release();
  }
}

/** What keeps a revision protected and is not there: somebody removed it, or died before it was made. */
function goneOverlays(repo: Repository, disk: DiskName): Finding[] {
  const gone = listOverlays(repo, disk).filter(({ state }) => state === 'gone');
  return gone.map(({ overlay, revision, by, madeAt }) => {
    const about = `${revision} is protected for the overlay ${visible(overlay)}, made by ${visible(by)} at ${madeAt}`;
    const message = `${about}, which is gone: “cairn instant --finish ${quoted(overlay)}” frees it.`;
    const found = problem(disk, 'overlay', `disks/${disk}/revisions/${revision}.state.json`, message, null);
    return { ...found, revisions: [revision], severity: 'note' };
  });
}

/** Taking the lock has noted the end of what died, and what it left is among the other findings. */
function diedAmong(repo: Repository, disk: DiskName, before: readonly OpenOperation[]): Finding[] {
  const still = new Set(openOperations(repo.diskDir(disk)).map(({ id }) => id));
  const died = before.filter(({ id }) => !still.has(id));
  return died.map(({ operation, time, by }) => {
    const message = `The ${operation} that ${by} began at ${time} ended without a word; that is in the log now.`;
    const found = problem(disk, 'operation', `disks/${disk}/log.jsonl`, message, 'notes its end');
    return { ...found, severity: 'note', repaired: true };
  });
}

/** Without the lock, what a running operation is writing cannot be told from what a dead one left. */
async function lockToLook(
  repo: Repository,
  disk: DiskName,
  options: DoctorOptions,
): Promise<{ lock: DiskLock | null; busy: Finding[] }> {
  if (!repo.writable) return { lock: null, busy: [] };
  const diskDir = repo.diskDir(disk);
  try {
    return { lock: await acquireDisk(diskDir, 'doctor', options), busy: [] };
  } catch (error) {
    if (!(error instanceof CairnError) || error.code !== 'LOCKED') throw error;
    const repair = options.repair === true ? 'nothing was repaired, and ' : '';
    const message = `${error.message}: ${repair}what interrupted operations left was not looked for.`;
    const note = problem(disk, 'busy', `disks/${disk}`, message.replaceAll(`${repo.dir}/`, ''), null);
    return { lock: null, busy: [{ ...note, severity: options.repair === true ? 'problem' : 'note' }] };
  }
}

/** @returns what was done */
async function repairDisk(
  repo: Repository,
  disk: DiskName,
  lock: DiskLock,
  findings: readonly Finding[],
  job: JobOptions,
): Promise<string[]> {
  const diskDir = repo.diskDir(disk);
  const started = startOperation(
    diskDir,
    'doctor',
    { findings: findings.length },
    { underLock: true, freesSpace: true },
  );
  try {
    const { done } = await runJob(() => startRepair(diskDir, lock), job);
    const states = repairStates(repo, disk, lock, findings);
    const said = [...done, ...states].map((sentence) => `${disk}: ${sentence}.`);
    noteFinished(started, diskDir, { done: [...done, ...states] });
    return said;
  } catch (error) {
    noteFailed(repo, started, diskDir, error);
    throw error;
  }
}

function repairStates(
  repo: Repository,
  disk: DiskName,
  lock: DiskLock,
  findings: readonly Finding[],
): string[] {
  const lost = findings.filter(({ kind }) => kind === 'state').flatMap(({ revisions }) => revisions);
  if (lost.length === 0) return [];
  const { entries } = readJournal(repo.diskDir(disk));
  return lost.map((revision) => {
    const { state, isKnown } = stateByLog(entries, revision);
    if (isRevisionId(revision)) writeState(repo.diskDir(disk), revision, state, lock);
    const from = isKnown ? 'as the log tells' : 'as protected, since the log tells nothing of it';
    return `the state of ${revision} was written anew, ${from}`;
  });
}

/** What the log tells of a revision: tags, trust and protection as they were last set. Tags that expired since are back,
 *  which keeps a revision longer and loses none. */
function stateByLog(
  entries: readonly JournalEntry[],
  revision: string,
): { state: StateFile; isKnown: boolean } {
  let state: StateFile = { tags: [], trust: 'trusted', protected: true };
  let isKnown = false;
  for (const entry of entries) {
    if (entry.event !== 'finished' || entry['revision'] !== revision) continue;
    const {
      tags,
      trust,
      protected: kept,
    } = entry as { tags?: unknown; trust?: unknown; protected?: unknown };
    if (!Array.isArray(tags)) continue;
    const isTrust = trust === 'trusted' || trust === 'distrusted' || trust === 'verified';
    state = {
      tags: tags.map(String),
      trust: isTrust ? trust : state.trust,
      protected: kept === true,
      ...overlaysIn(entry),
    };
    isKnown = true;
  }
  return { state, isKnown };
}

/** A log holds whatever somebody wrote into it. */
function overlaysIn(entry: JournalEntry): Pick<StateFile, 'overlays' | 'protectedOtherwise'> {
  const { overlays, protectedOtherwise } = entry as { overlays?: unknown; protectedOtherwise?: unknown };
  const good = Array.isArray(overlays) ? overlays.filter(isOverlayRecord) : [];
  return good.length === 0 ? {} : { overlays: good, protectedOtherwise: protectedOtherwise === true };
}

function isOverlayRecord(value: unknown): value is OverlayRecord {
  const { path, backing, by, machine, madeAt } = (value ?? {}) as Record<string, unknown>;
  const hasWords = [path, backing, by, madeAt].every((word) => typeof word === 'string');
  return hasWords && isTime(madeAt) && (machine === null || typeof machine === 'string');
}
