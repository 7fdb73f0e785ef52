/** What a repository tells about a disk: its revisions, and what its log says of its last backups and scrubs. Nothing of
 *  it is kept anywhere else, so whoever looks sees the same, and a process that dies takes nothing along. */
import { statSync } from 'node:fs';
import { CairnError } from '../base/errors.js';
import type { RevisionRow } from '../base/revision-row.js';
import type { EarlyWarning } from '../native/index.js';
import type { JournalEntry } from '../repository/journal-entry.js';
import { entriesBackwards } from '../repository/journal-file.js';
import { journalFile } from '../repository/layout.js';
import type { Repository } from '../repository/repository.js';

export interface ToldError {
  readonly code: string;
  readonly message: string;
}

/** A backup that came to its end. */
export interface FinishedBackup {
  readonly revision: string;
  /** Whether everything was read, or what was told to have changed; null in logs of earlier versions. */
  readonly method: 'full' | 'diff' | null;
  /** Why everything was read although the source tells what changes: a clause. */
  readonly reason: string | null;
  readonly endedMs: number;
  readonly durationMs: number;
  readonly readBytes: number;
  readonly changedBytes: number;
  readonly storedBytes: number;
  /** What a person should look at before it becomes a loss. */
  readonly earlyWarnings: readonly EarlyWarning[];
  /** What else was to be said of it. */
  readonly warnings: readonly string[];
}

/** What the log of a disk tells of its last weeks. */
export interface History {
  /** Backups that failed since the last that took a good revision. Those that somebody ended do not count. */
  readonly failures: number;
  readonly lastFailure: (ToldError & { readonly endedMs: number }) | null;
  readonly lastBackup: FinishedBackup | null;
  /** The last scrub of all that the disk stores. */
  readonly lastScrub: { readonly endedMs: number; readonly recordsDamaged: number } | null;
  readonly lastCollectMs: number | null;
  /** When backups failed, newest first. */
  readonly failedMs: readonly number[];
}

export interface DiskFacts {
  readonly disk: string;
  /** Oldest first. */
  readonly rows: readonly RevisionRow[];
  readonly history: History;
  /** Why its log tells nothing: a sentence. */
  readonly problem: string | null;
}

/** As long as pictures show, and as scrubs take to come round. */
const LOOKED_BACK_MS = 35 * 86_400_000;
const LOG_BYTES_MAX = 16 * 1024 * 1024;

export const NO_HISTORY: History = {
  failures: 0,
  lastFailure: null,
  lastBackup: null,
  lastScrub: null,
  lastCollectMs: null,
  failedMs: [],
};

/** Reads facts, and again only those that changed. */
export class FactReader {
  readonly #repo: Repository;
  readonly #nowMs: () => number;
  readonly #rows = new Map<string, { mark: string; rows: readonly RevisionRow[] }>();
  readonly #histories = new Map<string, { stamp: string; history: History }>();

  constructor(repo: Repository, nowMs: () => number) {
    this.#repo = repo;
    this.#nowMs = nowMs;
  }

  /** Of a disk that may not be there yet. Call `repo.refresh` before. */
  read(disk: string): DiskFacts {
    if (!this.#repo.hasDisk(disk)) return { disk, rows: [], history: NO_HISTORY, problem: null };
    const rows = this.#rowsOf(disk);
    try {
      return { disk, rows, history: this.#historyOf(disk), problem: null };
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      return { disk, rows, history: NO_HISTORY, problem: error.message };
    }
  }

  #rowsOf(disk: string): readonly RevisionRow[] {
    // Before the rows: what comes in between them makes another mark.
    const mark = this.#repo.listingMark(disk);
    const known = this.#rows.get(disk);
    if (mark !== null && known?.mark === mark) return known.rows;
    const rows = this.#repo.revisions(disk);
    if (mark !== null) this.#rows.set(disk, { mark, rows });
    return rows;
  }

  #historyOf(disk: string): History {
    const dir = this.#repo.diskDir(disk);
    const stamp = stampOf(journalFile(dir));
    const known = this.#histories.get(disk);
    if (known?.stamp === stamp) return known.history;
    const history = readHistory(entriesBackwards(dir, LOG_BYTES_MAX), this.#nowMs() - LOOKED_BACK_MS);
    this.#histories.set(disk, { stamp, history });
    return history;
  }
}

/** `entries` come newest first; those before `sinceMs` are not looked at. */
export function readHistory(entries: Iterable<JournalEntry>, sinceMs: number): History {
  const history: { -readonly [Key in keyof History]: History[Key] } & { failedMs: number[] } = {
    ...NO_HISTORY,
    failedMs: [],
  };
  for (const entry of entries) {
    if (entry.event === 'started') continue;
    const endedMs = Date.parse(entry.time);
    if (endedMs < sinceMs) break;
    if (entry.operation === 'backup' && isFailure(entry)) {
      history.failedMs.push(endedMs);
      if (history.lastBackup === null) history.failures += 1;
      history.lastFailure ??= { ...errorOf(entry), endedMs };
    } else if (entry.event === 'failed') continue;
    else if (entry.operation === 'backup') history.lastBackup ??= finishedBackup(entry, endedMs);
    else if (entry.operation === 'scrub' && entry['revision'] === undefined)
      history.lastScrub ??= { endedMs, recordsDamaged: number(entry['recordsDamaged']) };
    else if (entry.operation === 'collect') history.lastCollectMs ??= endedMs;
  }
  return history;
}

/** Whether the backup took no good revision: also where it took one that its own comparison does not trust. */
function isFailure(entry: JournalEntry): boolean {
  if (entry.event === 'failed') return errorOf(entry).code !== 'CANCELLED';
  return (entry['comparison'] as { verdict?: unknown } | undefined)?.verdict === 'failed';
}

function errorOf(entry: JournalEntry): ToldError {
  if (entry.event === 'finished')
    return { code: 'CORRUPT', message: 'The revision differs from its source, so it is distrusted.' };
  const { code, message } = (entry['error'] ?? {}) as Partial<Record<string, unknown>>;
  return {
    code: typeof code === 'string' ? code : 'INTERNAL',
    message: typeof message === 'string' ? message : '',
  };
}

function finishedBackup(entry: JournalEntry, endedMs: number): FinishedBackup {
  const earlyWarnings = listOf(entry['earlyWarnings']).filter(isEarlyWarning);
  // Each stands among the sentences, too.
  const told = new Set(earlyWarnings.map(({ message }) => message));
  const warnings = listOf(entry['warnings']).filter((one) => typeof one === 'string' && !told.has(one));
  const { method, reason } = entry as Readonly<Record<string, unknown>>;
  return {
    revision: String(entry['revision'] ?? ''),
    method: method === 'full' || method === 'diff' ? method : null,
    reason: typeof reason === 'string' ? reason : null,
    endedMs,
    durationMs: number(entry['durationMs']),
    readBytes: number(entry['readBytes']),
    changedBytes: number(entry['changedBytes']),
    storedBytes: number(entry['storedBytes']),
    earlyWarnings,
    warnings: warnings as string[],
  };
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function isEarlyWarning(value: unknown): value is EarlyWarning {
  const { kind, message } = (value ?? {}) as Partial<Record<string, unknown>>;
  return typeof kind === 'string' && typeof message === 'string';
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

/** A log that is not there is as good as an empty one. */
function stampOf(file: string): string {
  const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? '' : [stats.ino, stats.size, stats.mtimeNs].join();
}
